"""Drop what no output depends on: assertions, their comparisons, unused weights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from common.graph.model import Argument, Node, StateRef, ValueRef, references


def prune(nodes: Sequence[Node], outputs: Iterable[Argument]) -> tuple[Node, ...]:
    """The nodes that the outputs need, in their order."""
    needed = {item.name for output in outputs for item in references(output) if isinstance(item, ValueRef)}
    kept: list[Node] = []
    for node in reversed(nodes):
        if node.name in needed:
            kept.append(node)
            needed |= {item.name for item in node.references() if isinstance(item, ValueRef)}
    return tuple(reversed(kept))


def used_states(nodes: Iterable[Node], outputs: Iterable[Argument]) -> tuple[str, ...]:
    """Names of the states that are read, in order of first use."""
    found: dict[str, None] = {}
    for node in nodes:
        found |= {item.name: None for item in node.references() if isinstance(item, StateRef)}
    for output in outputs:
        found |= {item.name: None for item in references(output) if isinstance(item, StateRef)}
    return tuple(found)
