"""What of a model does not become codes, and why. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from common.graph.model import FLOAT_DTYPES, Graph, Node, State, StateRef, ValueRef
from common.graph.operands import operand, weight_positions
from common.graph.ops import place
from common.graph.readings import Reading, graph_readings
from common.graph.uses import quantizable_states, weight_kind

# Sizes of elements as they are stored: bfloat16 as float32.
_ITEM_BYTES: Final = {"bool": 1, "uint8": 1, "int8": 1, "int16": 2, "int32": 4, "int64": 8} | {
    "float16": 2,
    "bfloat16": 4,
    "float32": 4,
    "float64": 8,
}


@dataclass(frozen=True, slots=True)
class LeftFloat:
    """A state that stays as it is at every level.

    Attributes:
        name: Of the state.
        size_bytes: Uncoded.
        reason: For a person.
    """

    name: str
    size_bytes: int
    reason: str


def float_states(graph: Graph) -> tuple[LeftFloat, ...]:
    """The states that do not become codes, largest first."""
    quantized = set(quantizable_states(graph))
    found = graph_readings(graph)
    computing = _computing(graph)
    left = [
        LeftFloat(
            state.name,
            math.prod(state.shape) * _ITEM_BYTES[state.dtype],
            _reason(graph, state, found[state.name], computing),
        )
        for state in graph.states
        if state.name not in quantized
    ]
    return tuple(sorted(left, key=lambda item: (-item.size_bytes, item.name)))


def _reason(graph: Graph, state: State, readings: Sequence[Reading], computing: frozenset[str]) -> str:
    by_shape = _reason_by_shape(state)
    if by_shape:
        return by_shape
    if not readings:
        return "used by no operator"
    others = [item for item in readings if weight_kind(graph.nodes, item, state.shape) == "other"]
    plain = next((item for item in others if not _is_weight(graph, item)), None)
    if plain is None:
        return _reason_by_rows(graph, readings, others)
    if plain.node < 0:
        return "is an answer of the model itself"
    node = graph.nodes[plain.node]
    if node.name in computing:
        return f"a weight is computed from it at run time, by {_where(node)}"
    return f"used by {_where(node)} as a plain tensor"


def _reason_by_shape(state: State) -> str:
    if state.dtype not in FLOAT_DTYPES:
        return "integer or boolean"
    if 0 in state.shape:
        return "no elements"
    if not state.shape:
        return "a single number"
    return "bias or norm: one axis" if len(state.shape) == 1 else ""


def _reason_by_rows(graph: Graph, readings: Sequence[Reading], others: Sequence[Reading]) -> str:
    """For a state whose every use is as a weight."""
    misfit = graph.nodes[others[0].node]
    fitting = next((item for item in readings if item not in others), None)
    if fitting is None:
        return f"its rows (axis 0) are not the output channels of {_where(misfit)}"
    return (
        f"{_where(graph.nodes[fitting.node])} and {_where(misfit)} have other axes of it as output channels"
    )


def _is_weight(graph: Graph, reading: Reading) -> bool:
    return (
        reading.layout is not None
        and operand(graph.nodes[reading.node], reading.position, reading.layout) is not None
    )


def _where(node: Node) -> str:
    return f"{node.op} in {place(node.layer)}"


def _computing(graph: Graph) -> frozenset[str]:
    """Names of the nodes that compute weights from states alone."""
    by_name = {node.name: node for node in graph.nodes}
    constant: set[str] = set()
    for node in graph.nodes:
        if all(isinstance(item, StateRef) or item.name in constant for item in node.references()):
            constant.add(node.name)
    needed = {
        item.name for node in graph.nodes if node.name not in constant for item in _weights(node)
    } & constant
    waiting = list(needed)
    while waiting:
        sources = {item.name for item in by_name[waiting.pop()].references() if isinstance(item, ValueRef)}
        waiting += sources - needed
        needed |= sources
    return frozenset(needed)


def _weights(node: Node) -> Iterator[ValueRef]:
    arguments = (node.args[position] for position in weight_positions(node))
    return (argument for argument in arguments if isinstance(argument, ValueRef))
