"""The steps in which a graph runs by its plan: nodes, layers in place of their nodes, and lookups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from common.graph.build import Step, make_step
from common.graph.model import Graph, Node, ValueRef
from common.graph.plan import Lifetimes, lifetimes
from common.graph.ranges import Grid
from device_agent.inference.integer.layers import Layer
from device_agent.inference.integer.plan import ARRANGING, POOLING, Plan

_NOTHING: Final = Lifetimes((), frozenset(), ())
_LAYER: Final = "integer.layer"


@dataclass(frozen=True, slots=True)
class Work:
    """One step of a run; the kinds of step differ in what is set.

    Attributes:
        name: Of the value that it yields.
        step: A node as it stands in the graph.
        layer: What a kernel may do instead of ``steps``.
        steps: The layer's own nodes.
        table: What a node takes rows of.
        ends: What begins and ends here.
        grid: Of the value, if it stays 8-bit.
        fresh: Whether what the layer adds is nobody else's, and may be overwritten.
    """

    name: str
    ends: Lifetimes
    step: Step | None = None
    layer: Layer | None = None
    steps: tuple[Step, ...] = ()
    table: str | None = None
    grid: Grid | None = None
    fresh: bool = False


def make_works(graph: Graph, plan: Plan) -> tuple[Work, ...]:
    """The steps of a run, in order.

    Raises:
        UnsupportedModelError: An operator is not allowed, or not in this torch.
    """
    return tuple(_works(graph, plan))


def _works(graph: Graph, plan: Plan) -> Iterator[Work]:
    covered = {index for layer in plan.layers.values() for index in layer.nodes}
    kept: list[tuple[int, Node]] = []
    for index, node in enumerate(graph.nodes):
        layer = plan.layers.get(index)
        if layer is not None:
            read = [layer.source] if layer.added is None else [layer.source, layer.added]
            kept.append((index, Node(layer.value, _LAYER, "", tuple(ValueRef(name) for name in read), {})))
        elif index in plan.lookups:
            kept.append((index, replace(node, args=(None, *node.args[1:]))))
        elif index not in covered:
            kept.append((index, node))
    ends = lifetimes(replace(graph, nodes=tuple(node for _, node in kept)))
    viewed = {name for _, node in kept if node.op in ARRANGING for name in _value_names(node)}
    makers = {layer.value for layer in plan.layers.values()} - viewed
    for (index, node), own in zip(kept, ends, strict=True):
        grid = plan.grids.get(node.name) if node.name in plan.eight_bit else None
        layer = plan.layers.get(index)
        if layer is not None:
            fresh = layer.added in own.frees and layer.added in makers
            steps = tuple(make_step(graph.nodes[at], _NOTHING) for at in layer.nodes)
            yield Work(node.name, own, layer=layer, steps=steps, grid=grid, fresh=fresh)
        elif index in plan.lookups:
            step = make_step(graph.nodes[index], own)
            yield Work(node.name, own, step=step, table=plan.lookups[index])
        else:
            arranges = node.op in ARRANGING or node.op == POOLING
            yield Work(node.name, own, step=make_step(node, own), grid=grid if arranges else None)


def _value_names(node: Node) -> Iterator[str]:
    return (item.name for item in node.references() if isinstance(item, ValueRef))
