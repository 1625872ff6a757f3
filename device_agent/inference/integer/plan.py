"""Which values of a graph stay 8-bit between two kernels, and in which steps the graph then runs. Pure.

A value stays 8-bit where it has a range and everything that reads it can read 8 bits: kernels, poolings of
the greatest, and operators that only arrange. Everything else is float, and is converted where the two meet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from typing import Final

from common.graph.model import Graph, Node, StateRef, ValueRef
from common.graph.ranges import Grid, grid_of, ranges_by_value
from device_agent.inference.integer.layers import Layer, find_layers

POOLING: Final = "aten.max_pool2d.default"
# They move numbers about, whatever those stand for.
ARRANGING: Final = frozenset(
    {
        "aten.reshape.default",
        "aten.flatten.using_ints",
        "aten.permute.default",
        "aten.transpose.int",
        "aten.unsqueeze.default",
        "aten.squeeze.dim",
        "aten.squeeze.dims",
        "aten.slice.Tensor",
        "aten.select.int",
    }
)
# They read 8 bits and give floats: means are of many numbers.
AVERAGING: Final = frozenset(
    {
        "aten.adaptive_avg_pool2d.default",
        "aten._adaptive_avg_pool2d.default",
        "aten.avg_pool2d.default",
        "aten.mean.dim",
    }
)
LOOKING_UP: Final = "aten.embedding.default"
_ADD: Final = "aten.add.Tensor"


@dataclass(frozen=True, slots=True)
class Plan:
    """How a graph may run on integer kernels.

    Attributes:
        layers: What kernels could do, by the index of each one's last node, where it runs.
        grids: The 8-bit grid of every value that has a range.
        eight_bit: Values that stay 8-bit when their kernels run.
        lookups: Indices of the nodes that take rows out of a quantized table, and that table.
    """

    layers: Mapping[int, Layer]
    grids: Mapping[str, Grid]
    eight_bit: frozenset[str]
    lookups: Mapping[int, str]

    @property
    def weights(self) -> tuple[str, ...]:
        """States that kernels would read, in order."""
        return tuple(layer.weight for layer in self.layers.values())


def make_plan(graph: Graph, quantized: AbstractSet[str]) -> Plan:
    """The plan of a graph.

    Args:
        graph: The computation with its ranges.
        quantized: States that come as codes.
    """
    grids = {name: grid_of(item.low, item.high) for name, item in ranges_by_value(graph).items()}
    addable = {node.name for node in graph.nodes if node.op == _ADD}
    while True:
        layers = [
            layer
            for layer in find_layers(graph, addable)
            if layer.weight in quantized and layer.source in grids
        ]
        eight_bit = _eight_bit(graph, layers, grids)
        wrong = {
            graph.nodes[_addition(graph, layer)].name
            for layer in layers
            if layer.added is not None and not {layer.added, layer.value} <= eight_bit
        }
        if not wrong:
            break
        addable -= wrong
    lookups = {
        index: node.args[0].name
        for index, node in enumerate(graph.nodes)
        if node.op == LOOKING_UP and isinstance(node.args[0], StateRef) and node.args[0].name in quantized
    }
    ordered = sorted(layers, key=lambda layer: layer.nodes[-1])
    return Plan({layer.nodes[-1]: layer for layer in ordered}, grids, eight_bit, lookups)


def without(plan: Plan, weights: AbstractSet[str]) -> Plan:
    """The plan with some weights left to float arithmetic."""
    layers = {index: layer for index, layer in plan.layers.items() if layer.weight not in weights}
    return replace(plan, layers=layers)


def _eight_bit(graph: Graph, layers: list[Layer], grids: Mapping[str, Grid]) -> frozenset[str]:
    """The largest set in which every value has a maker and only readers that know 8 bits."""
    by_index = {index: layer for layer in layers for index in layer.nodes}
    makers = {layer.value: layer for layer in layers}
    readers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.nodes):
        for name in _values(node):
            readers.setdefault(name, []).append(index)
    outputs = {item.source.name for item in graph.outputs if isinstance(item.source, ValueRef)}
    arranged = {node.name: node for node in graph.nodes if node.op in ARRANGING or node.op == POOLING}
    found = {name for name in (*makers, *arranged) if name in grids and name not in outputs}

    def reads(index: int, name: str) -> bool:
        layer = by_index.get(index)
        if layer is not None:
            return name in {layer.source, layer.added}
        node = graph.nodes[index]
        return (node.name in found or node.op in AVERAGING) and node.args[0] == ValueRef(name)

    def holds(name: str) -> bool:
        maker = makers.get(name)
        if maker is None:
            first = arranged[name].args[0]
            made = isinstance(first, ValueRef) and first.name in found
        else:
            made = maker.kind == "convolution"
        return made and all(reads(index, name) for index in readers.get(name, ()))

    while wrong := {name for name in found if not holds(name)}:
        found -= wrong
    return frozenset(found)


def _addition(graph: Graph, layer: Layer) -> int:
    return next(index for index in layer.nodes if graph.nodes[index].op == _ADD)


def _values(node: Node) -> Iterator[str]:
    return (item.name for item in node.references() if isinstance(item, ValueRef))
