"""A graph whose values are rounded to the 256 numbers of their ranges, in floats."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from common.graph.model import Argument, Graph, Node, Range, ValueRef
from common.graph.ranges import GREATEST_CODE, LEAST_CODE, grid_of


def fake_quantized(graph: Graph) -> Graph:
    """Every value with a range passes through its grid before anybody reads it."""
    ranges = {item.value: item for item in graph.ranges}
    nodes: list[Node] = []
    for item in graph.inputs:
        if item.name in ranges:
            nodes += _through_grid(ranges[item.name])
    for node in graph.nodes:
        args = tuple(_renamed(argument, ranges) for argument in node.args)
        nodes.append(
            replace(node, args=args, kwargs={k: _renamed(v, ranges) for k, v in node.kwargs.items()})
        )
        if node.name in ranges:
            nodes += _through_grid(ranges[node.name])
    outputs = tuple(
        replace(output, source=ValueRef(f"{output.source.name}/grid"))
        if output.source.name in ranges
        else output
        for output in graph.outputs
    )
    return replace(graph, nodes=tuple(nodes), outputs=outputs, ranges=())


def _through_grid(item: Range) -> Iterator[Node]:
    grid = grid_of(item.low, item.high)
    least, greatest = LEAST_CODE - grid.zero_point, GREATEST_CODE - grid.zero_point
    value = item.value
    for name, op, *rest in (
        ("steps", "div.Scalar", grid.scale),
        ("whole", "round.default"),
        ("codes", "clamp.default", least, greatest),
        ("grid", "mul.Scalar", grid.scale),
    ):
        yield Node(f"{item.value}/{name}", f"aten.{op}", "", (ValueRef(value), *rest), {})
        value = f"{item.value}/{name}"


def _renamed(argument: Argument, ranges: dict[str, Range]) -> Argument:
    if isinstance(argument, tuple):
        return tuple(_renamed(item, ranges) for item in argument)
    if isinstance(argument, ValueRef) and argument.name in ranges:
        return ValueRef(f"{argument.name}/grid")
    return argument
