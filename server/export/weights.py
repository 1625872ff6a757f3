"""Every weight is read right before its operator, from a tensor whose rows are output channels.

Views that the model took earlier move to the reader, so that no float weight waits in memory. Products with a
weight become ``linear`` where they are that, and turned weights are turned back (see ``turn``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Final

from common.graph.layout import contiguous
from common.graph.model import Argument, Node, Output, StateRef, ValueRef
from common.graph.operands import operand
from common.graph.readings import Reading, readings
from server.export.linear import as_linear
from server.export.turn import Turn, find_turn

_CAST: Final = "aten._to_copy.default"


def store_by_rows(
    nodes: Sequence[Node], outputs: Sequence[Output], shapes: Mapping[str, tuple[int, ...]]
) -> tuple[tuple[Node, ...], dict[str, Turn]]:
    """The nodes as they read the weights that are stored, and how to store those that are turned.

    Views that nothing reads any more are left for ``prune``.

    Args:
        nodes: In order of execution, without unused ones.
        outputs: Of the graph.
        shapes: Of every state, as the model has it.
    """
    straight = {name: contiguous(shape) for name, shape in shapes.items()}
    weights = {
        name: found for name, found in readings(nodes, outputs, straight).items() if _is_weight(nodes, found)
    }
    turns: dict[str, Turn] = {}
    for name, found in weights.items():
        turn = find_turn(name, shapes[name], _touched(nodes, found))
        if turn:
            turns[name] = turn
    layouts = {name: turns[name].layout() if name in turns else straight[name] for name in weights}
    stored = {name: turns[name].stored if name in turns else shapes[name] for name in weights}
    reader = _Reader(nodes, turns, {**shapes, **stored})
    by_node: dict[int, list[Reading]] = {}
    for found in readings(nodes, outputs, layouts).values():
        for item in found:
            by_node.setdefault(item.node, []).append(item)
    new = [made for index in range(len(nodes)) for made in reader.read(index, by_node.get(index, ()))]
    return tuple(new), turns


class _Reader:
    """Rewrites one node after the other."""

    def __init__(
        self, nodes: Sequence[Node], turns: Mapping[str, Turn], shapes: Mapping[str, tuple[int, ...]]
    ) -> None:
        self._nodes = nodes
        self._turns = turns
        self._shapes = shapes
        self._names = {node.name for node in nodes}

    def read(self, index: int, found: Sequence[Reading]) -> Iterator[Node]:
        """The node, after the views of weights that it needs; a linear layer where it is one.

        Args:
            index: Of the node.
            found: Its readings of weights, with layouts in what is stored.
        """
        node = self._nodes[index]
        only = found[0] if len(found) == 1 and self._is_uncast(found[0]) else None
        linear = as_linear(node, only, self._shapes) if only else None
        return iter([linear]) if linear else self._with_views(node, found)

    def _with_views(self, node: Node, found: Sequence[Reading]) -> Iterator[Node]:
        args = list(node.args)
        for item in found:
            views = list(self._views(node, item))
            yield from views
            args[item.position] = ValueRef(views[-1].name) if views else StateRef(item.state)
        yield Node(node.name, node.op, node.layer, tuple(args), node.kwargs)

    def _views(self, reader: Node, item: Reading) -> Iterator[Node]:
        """What makes the reader's argument of the stored state; nothing where they are the same."""
        if item.layout == contiguous(self._shapes[item.state]) and self._is_uncast(item):
            return
        source: Argument = StateRef(item.state)
        for op, argument in self._turns[item.state].back() if item.state in self._turns else ():
            view = Node(self._name(reader), op, reader.layer, (source, argument), {})
            yield view
            source = ValueRef(view.name)
        for index in item.views:
            old = self._nodes[index]
            view = Node(self._name(reader), old.op, old.layer, (source, *old.args[1:]), old.kwargs)
            yield view
            source = ValueRef(view.name)

    def _is_uncast(self, item: Reading) -> bool:
        return all(self._nodes[index].op != _CAST for index in item.views)

    def _name(self, reader: Node) -> str:
        names = (f"{reader.name}_weight{number or ''}" for number in count())
        name = next(name for name in names if name not in self._names)
        self._names.add(name)
        return name


def _is_weight(nodes: Sequence[Node], found: Sequence[Reading]) -> bool:
    return bool(found) and all(
        item.layout is not None and operand(nodes[item.node], item.position, item.layout) for item in found
    )


def _touched(nodes: Sequence[Node], found: Sequence[Reading]) -> list[Node]:
    return [nodes[index] for index in sorted({at for item in found for at in (*item.views, item.node)})]
