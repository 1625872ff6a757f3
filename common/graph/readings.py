"""Where each state is read, seen through the operators of shape that stand in between. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common.graph.layout import Layout, contiguous
from common.graph.model import Argument, Graph, Node, Output, StateRef, ValueRef, references
from common.graph.views import View, view

MAX_VIEWS: Final = 16  # operators of shape between a state and what reads it; more are not followed


@dataclass(frozen=True, slots=True)
class Reading:
    """One place where a state, or a view of it, is read by what is not itself a view.

    Attributes:
        state: Its name.
        node: Index of the reader in ``Graph.nodes``; -1 for an output of the graph.
        position: Of the argument; -1 for a keyword or an output of the graph.
        layout: Of the argument in the state's memory; None where it is only a part of the argument.
        views: Indices of the operators of shape from the state to the reader, in order.
    """

    state: str
    node: int
    position: int
    layout: Layout | None
    views: tuple[int, ...] = ()

    @property
    def first(self) -> int:
        """Index of the node that asks for the state."""
        return self.views[0] if self.views else self.node


@dataclass(frozen=True, slots=True)
class _Seen:
    """A value that is a view of a state."""

    state: str
    view: View
    views: tuple[int, ...]


def graph_readings(graph: Graph) -> dict[str, tuple[Reading, ...]]:
    """Every state's readings, in order of execution; states in the graph's order."""
    layouts = {state.name: contiguous(state.shape) for state in graph.states}
    return readings(graph.nodes, graph.outputs, layouts)


def readings(
    nodes: Sequence[Node], outputs: Sequence[Output], layouts: Mapping[str, Layout]
) -> dict[str, tuple[Reading, ...]]:
    """As ``graph_readings``, for states that need not be contiguous: name to layout."""
    found: dict[str, list[Reading]] = {name: [] for name in layouts}
    seen: dict[Argument, _Seen] = {
        StateRef(name): _Seen(name, layout, ()) for name, layout in layouts.items()
    }
    for index, node in enumerate(nodes):
        source = seen.get(node.args[0]) if node.args and _is_reference(node.args[0]) else None
        made = view(node, source.view) if source and len(source.views) < MAX_VIEWS else None
        if source and made is not None:
            seen[ValueRef(node.name)] = _Seen(source.state, made, (*source.views, index))
        for reading in _read_by(index, node, seen, skip_first=made is not None):
            found[reading.state].append(reading)
    for output in outputs:
        if output.source in seen:
            item = seen[output.source]
            found[item.state].append(Reading(item.state, -1, -1, None, item.views))
    return {name: tuple(items) for name, items in found.items()}


def _read_by(
    index: int, node: Node, seen: Mapping[Argument, _Seen], *, skip_first: bool
) -> Iterator[Reading]:
    arguments = [*enumerate(node.args), *((-1, value) for value in node.kwargs.values())]
    for position, argument in arguments[1 if skip_first else 0 :]:
        for reference in references(argument):
            item = seen.get(reference)
            if item:
                whole = argument is reference and isinstance(item.view, Layout)
                layout = item.view if whole and isinstance(item.view, Layout) else None
                yield Reading(item.state, index, position, layout, item.views)


def _is_reference(argument: Argument) -> bool:
    return isinstance(argument, StateRef | ValueRef)
