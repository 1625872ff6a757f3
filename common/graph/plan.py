"""Order of execution with lifetimes: when a value can go, and which states are worth holding for a moment.

A state is loaded right before its use and dropped after it, so that a device never has all weights in float.
Only where the next use is a few nodes away it is held until then; a recurrent cell, step after step, may have
more nodes. A view of a state is a value like any other; the exporter puts it right before its reader.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Final

from common.graph.model import Graph, Node, StateRef, ValueRef
from common.graph.readings import Reading, graph_readings
from common.graph.uses import quantizable_states

HOLD_NODES: Final = 32
# For states that are read again and again: two or three stacked cells of an LSTM take so many nodes a step.
HOLD_STEP_NODES: Final = 128
STEPS: Final = 4  # as many readings, at least, are again and again


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """What begins and ends at one node.

    Attributes:
        frees: Values that nothing after this node reads.
        holds: States that the node reads and that are held for a later one.
        drops: States that were held up to this node.
    """

    frees: tuple[str, ...]
    holds: frozenset[str]
    drops: tuple[str, ...]


def lifetimes(graph: Graph) -> tuple[Lifetimes, ...]:
    """One per node, in order."""
    outputs = {output.source.name for output in graph.outputs if isinstance(output.source, ValueRef)}
    last_reads = {item.name: -1 for item in graph.inputs}
    for index, node in enumerate(graph.nodes):
        last_reads[node.name] = index
        last_reads |= dict.fromkeys(_values(node), index)
    ends: list[list[str]] = [[] for _ in graph.nodes]
    for name, index in last_reads.items():
        if name not in outputs and index >= 0:
            ends[index].append(name)
    holds = _holds(graph.nodes)
    return tuple(
        Lifetimes(tuple(ends[index]), holds[index], tuple(_states(node) - holds[index]))
        for index, node in enumerate(graph.nodes)
    )


def passing_states(graph: Graph) -> frozenset[str]:
    """Quantized states that are asked for once, and gone before the next of them is asked for.

    They may share memory: neither the runner nor a view keeps one longer.
    """
    quantized = set(quantizable_states(graph))
    asked = [(index, name) for index, node in enumerate(graph.nodes) for name in _asked_by(node, quantized)]
    times = Counter(name for _, name in asked)
    nexts = (*(index for index, _ in asked[1:]), len(graph.nodes))
    found = graph_readings(graph)
    return frozenset(
        name
        for (_, name), next_asked in zip(asked, nexts, strict=False)
        if times[name] == 1 and _last(found[name]) < next_asked
    )


def _asked_by(node: Node, names: AbstractSet[str]) -> tuple[str, ...]:
    """Those of the names that a node asks for, in the order of its arguments."""
    states = (item.name for item in node.references() if isinstance(item, StateRef))
    return tuple(dict.fromkeys(name for name in states if name in names))


def _last(readings: Sequence[Reading]) -> int:
    return max(item.node for item in readings)


def _holds(nodes: Sequence[Node]) -> list[frozenset[str]]:
    times = Counter(name for node in nodes for name in _states(node))
    next_reads: dict[str, int] = {}
    found: list[frozenset[str]] = []
    for index in range(len(nodes) - 1, -1, -1):
        read = _states(nodes[index])
        near = (name for name in read & next_reads.keys() if next_reads[name] - index <= _reach(times[name]))
        found.append(frozenset(near))
        next_reads |= dict.fromkeys(read, index)
    return found[::-1]


def _reach(times: int) -> int:
    return HOLD_STEP_NODES if times >= STEPS else HOLD_NODES


def _values(node: Node) -> Iterator[str]:
    return (item.name for item in node.references() if isinstance(item, ValueRef))


def _states(node: Node) -> set[str]:
    return {item.name for item in node.references() if isinstance(item, StateRef)}
