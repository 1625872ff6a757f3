"""Order of execution with lifetimes: when a value can go, and which states are worth holding for a moment.

A state is loaded right before its use and dropped after it, so that a device never has all weights in float.
Only where the next use is a few nodes away (a recurrent cell, step after step) it is held until then.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from common.graph.model import Graph, Node, StateRef, ValueRef

HOLD_NODES: Final = 32


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


def _holds(nodes: Sequence[Node]) -> list[frozenset[str]]:
    next_reads: dict[str, int] = {}
    found: list[frozenset[str]] = []
    for index in range(len(nodes) - 1, -1, -1):
        read = _states(nodes[index])
        near = (name for name in read if next_reads.get(name, index + HOLD_NODES + 1) - index <= HOLD_NODES)
        found.append(frozenset(near))
        next_reads |= dict.fromkeys(read, index)
    return found[::-1]


def _values(node: Node) -> Iterator[str]:
    return (item.name for item in node.references() if isinstance(item, ValueRef))


def _states(node: Node) -> set[str]:
    return {item.name for item in node.references() if isinstance(item, StateRef)}
