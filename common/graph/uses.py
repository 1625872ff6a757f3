"""What the graph does with each weight: it decides which of them can be quantized."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from common.graph.model import Graph, Node, State
from common.graph.operands import Kind, operand
from common.graph.readings import Reading, graph_readings


@dataclass(frozen=True, slots=True)
class WeightUse:
    """One place where a state, or a view of it that operators of shape took, is read.

    Attributes:
        kind: Of the operator, where the state is its weight and every row of the state (an index on axis 0)
            belongs to one output channel; else "other".
        position: Of the argument; -1 for a keyword or an output of the graph.
        node: Index of the operator in ``Graph.nodes``; -1 for an output of the graph.
    """

    kind: Kind
    position: int
    node: int


def weight_uses(graph: Graph) -> dict[str, tuple[WeightUse, ...]]:
    """Every state's uses, in order of execution; states in the graph's order."""
    found = graph_readings(graph)
    return {
        state.name: tuple(
            WeightUse(weight_kind(graph.nodes, item, state.shape), item.position, item.node)
            for item in found[state.name]
        )
        for state in graph.states
    }


def quantizable_states(graph: Graph) -> tuple[str, ...]:
    """Names of the float states that are nothing but weights with the output channel on axis 0."""
    uses = weight_uses(graph)
    return tuple(
        state.name
        for state in graph.states
        if may_be_weight(state) and uses[state.name] and all(use.kind != "other" for use in uses[state.name])
    )


def may_be_weight(state: State) -> bool:
    """Whether its type and shape are those of a weight, whatever it is used for."""
    return state.is_float and len(state.shape) > 1 and 0 not in state.shape


def weight_kind(nodes: Sequence[Node], reading: Reading, shape: Sequence[int]) -> Kind:
    """The kind of a reading; "other" where rows of a state of this shape are no output channels of it."""
    if reading.layout is None or len(shape) < 2 or 0 in shape:  # noqa: PLR2004 - no rows of weights
        return "other"
    found = operand(nodes[reading.node], reading.position, reading.layout)
    return found.kind if found and found.is_by_rows(shape, reading.layout.start) else "other"
