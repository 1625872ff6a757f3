"""What the graph does with each weight: it decides which of them can be quantized."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from common.graph.model import Graph, Node, StateRef, references

Kind: TypeAlias = Literal["linear", "convolution", "embedding", "other"]

# Operator to the kind and the position of its weight, whose axis 0 is the output channel (or the word).
_WEIGHTS: Final[dict[str, tuple[Kind, int]]] = {
    "aten.linear.default": ("linear", 1),
    "aten.convolution.default": ("convolution", 1),
    "aten.conv1d.default": ("convolution", 1),
    "aten.conv2d.default": ("convolution", 1),
    "aten.conv3d.default": ("convolution", 1),
    "aten.embedding.default": ("embedding", 0),
    "aten._embedding_bag.default": ("embedding", 0),
}
_TRANSPOSED: Final = 6  # argument of aten.convolution


@dataclass(frozen=True, slots=True)
class WeightUse:
    """One place where a state is read.

    Attributes:
        kind: "linear", "convolution" or "embedding" where it is that operator's weight, else "other".
        position: Of the argument; -1 for a keyword or an output of the graph.
        node: Index in ``Graph.nodes``; -1 for an output of the graph.
    """

    kind: Kind
    position: int
    node: int


def weight_uses(graph: Graph) -> dict[str, tuple[WeightUse, ...]]:
    """Every state's uses, in order of execution; states in the graph's order."""
    uses: dict[str, list[WeightUse]] = {state.name: [] for state in graph.states}
    for index, node in enumerate(graph.nodes):
        for name, use in _uses_in(index, node):
            uses[name].append(use)
    for output in graph.outputs:
        if isinstance(output.source, StateRef):
            uses[output.source.name].append(WeightUse("other", -1, -1))
    return {name: tuple(found) for name, found in uses.items()}


def quantizable_states(graph: Graph) -> tuple[str, ...]:
    """Names of the float states that are nothing but weights with the output channel on axis 0."""
    uses = weight_uses(graph)
    return tuple(
        state.name
        for state in graph.states
        if state.is_float and len(state.shape) > 1 and 0 not in state.shape and _only_weight(uses[state.name])
    )


def _only_weight(uses: tuple[WeightUse, ...]) -> bool:
    return bool(uses) and all(use.kind != "other" for use in uses)


def _uses_in(index: int, node: Node) -> list[tuple[str, WeightUse]]:
    found = []
    for position, argument in [*enumerate(node.args), *((-1, value) for value in node.kwargs.values())]:
        for reference in references(argument):
            if isinstance(reference, StateRef):
                whole = isinstance(argument, StateRef)
                kind = _kind(node, position) if whole else "other"
                found.append((reference.name, WeightUse(kind, position, index)))
    return found


def _kind(node: Node, position: int) -> Kind:
    kind, weight_position = _WEIGHTS.get(node.op, ("other", -1))
    if kind == "other" or position != weight_position:
        return "other"
    transposed = node.op == "aten.convolution.default" and node.args[_TRANSPOSED : _TRANSPOSED + 1] != (
        False,
    )
    return "other" if transposed else kind
