"""Inputs and outputs of a program as the graph declares them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx
from torch.export import ExportedProgram
from torch.export.graph_signature import ConstantArgument, OutputKind
from torch.utils import _pytree

from common.errors import UnsupportedModelError
from common.graph.model import DTYPES, Argument, Input, Output, Shape, StateRef, ValueRef
from server.export.examples import Examples
from server.export.outputs import flatten
from server.export.trace import model_path


def graph_inputs(
    program: ExportedProgram, examples: Examples, placeholders: Mapping[str, fx.Node]
) -> tuple[Input, ...]:
    """The inputs in the order of the program's placeholders.

    Raises:
        UnsupportedModelError: The model fixes the batch size.
    """
    found = []
    for placeholder, name in zip(program.graph_signature.user_inputs, examples.names, strict=True):
        dtype, shape = _meta(placeholders[str(placeholder)])
        if shape[0] is not None:
            raise UnsupportedModelError(
                f"The model fixes the batch size of input {name!r} to {shape[0]}.",
                advice="Use x.shape[0] or -1 in forward where a batch size is written as a number.",
            )
        found.append(Input(name, dtype, shape))
    return tuple(found)


def graph_outputs(program: ExportedProgram, yielded: Argument) -> tuple[Output, ...]:
    """The outputs with the model's own names.

    Args:
        program: Tells the structure of the model's answer.
        yielded: What the program's output node became.

    Raises:
        UnsupportedModelError: An output is no tensor, or the model changes itself or its inputs.
    """
    specs = program.graph_signature.output_specs
    for spec in specs:
        if spec.kind != OutputKind.USER_OUTPUT:
            raise UnsupportedModelError(
                f"The model changes {model_path(spec.target or '')!r} while it answers,"
                " which cannot be delivered.",
                advice="Return the new value instead of storing it in the module.",
            )
    results = program.graph.output_node().args[0]
    assert isinstance(results, tuple | list)  # noqa: S101
    assert isinstance(yielded, tuple)  # noqa: S101
    indices = [None if isinstance(spec.arg, ConstantArgument) else index for index, spec in enumerate(specs)]
    tree = _pytree.tree_unflatten(indices, program.call_spec.out_spec)
    return tuple(_output(name, results[index], yielded[index]) for name, index in flatten(tree))


def _output(name: str, node: Any, source: Argument) -> Output:
    if not isinstance(source, ValueRef | StateRef) or not isinstance(node.meta.get("val"), torch.Tensor):
        raise UnsupportedModelError(f"Output {name!r} of the model is no tensor.")
    dtype, shape = _meta(node)
    return Output(name, source, dtype, shape)


def _meta(node: fx.Node) -> tuple[str, Shape]:
    value: torch.Tensor = node.meta["val"]
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype not in DTYPES:
        raise UnsupportedModelError(f"Value {node.name!r} is {dtype}; values are one of {sorted(DTYPES)}.")
    return dtype, tuple(size if type(size) is int else None for size in value.shape)
