"""Export, step by step: trace, convert, fold, turn weights, prune, check, prove."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import fx, nn
from torch.export import ExportedProgram

from common.errors import InvalidInputError
from common.graph.codec import from_json, to_json
from common.graph.model import Argument, Graph, Input, Node, Output, StateRef, ValueRef
from common.graph.ops import check_op
from server.export.convert import Converter
from server.export.examples import Examples, read_examples
from server.export.exported import Exported
from server.export.fold import fold_weights
from server.export.prune import prune, used_states
from server.export.signature import graph_inputs, graph_outputs
from server.export.states import FoundState, find_states, snapshot
from server.export.trace import call, quiet_eval, trace
from server.export.verify import verify
from server.export.weights import store_by_rows


def export_model(
    model: nn.Module,
    example_inputs: torch.Tensor | Sequence[torch.Tensor] | Mapping[str, torch.Tensor],
) -> Exported:
    """A model as graph, tensors and inputs; the model is run in evaluation mode and left as it was.

    Args:
        model: Any module that ``torch.export`` can follow.
        example_inputs: A tensor or a sequence of them for the positional inputs, or a mapping for keyword
            inputs. Axis 0 of each is the batch, whose size is open afterwards; other axes are fixed.

    Raises:
        InvalidInputError: The inputs do not fit the model, the model is empty, or weights are NaN or
            infinite.
        UnsupportedModelError: The model uses what cannot be delivered; names operator and layer.
    """
    examples = read_examples(model, example_inputs)
    with quiet_eval(model):
        call(model, examples)
        exported = _assemble(trace(model, examples), examples)
        verify(model, exported, examples)
    return exported


def _assemble(program: ExportedProgram, examples: Examples) -> Exported:
    states = list(find_states(program))
    inputs, nodes, outputs = _compute(program, examples, states)
    sources = [output.source for output in outputs]
    by_name = {found.name: found for found in reversed(states)}
    nodes, by_name = fold_weights(prune(nodes, sources), sources, by_name)
    shapes = {name: found.shape for name, found in by_name.items()}
    nodes, turns = store_by_rows(nodes, outputs, shapes)
    nodes = prune(nodes, sources)
    _check_ops(nodes)
    used = [by_name[name] for name in used_states(nodes, sources)]
    if not nodes or not any(found.is_weight for found in used):
        raise InvalidInputError(
            "The model is empty: its outputs depend on no operator with weights.",
            advice="Push a model whose answer is computed from its parameters.",
        )
    pairs = [snapshot(found, turns.get(found.name)) for found in used]
    graph = Graph(inputs, tuple(state for state, _ in pairs), nodes, outputs)
    graph = from_json(to_json(graph))  # the proof that the other side will read it
    return Exported(graph, {state.name: tensor for state, tensor in pairs}, examples.tensors)


def _compute(
    program: ExportedProgram, examples: Examples, states: Sequence[FoundState]
) -> tuple[tuple[Input, ...], tuple[Node, ...], tuple[Output, ...]]:
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    inputs = graph_inputs(program, examples, placeholders)
    known: dict[fx.Node, Argument] = {placeholders[item.placeholder]: StateRef(item.name) for item in states}
    for placeholder, item in zip(program.graph_signature.user_inputs, inputs, strict=True):
        known[placeholders[str(placeholder)]] = ValueRef(item.name)
    converter = Converter([item.name for item in inputs])
    yielded = converter.walk(program.graph, known)
    return inputs, tuple(converter.nodes), graph_outputs(program, yielded)


def _check_ops(nodes: Sequence[Node]) -> None:
    for node in nodes:
        check_op(node.op, node.layer)
