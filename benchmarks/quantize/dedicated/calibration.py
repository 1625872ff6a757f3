"""What the layers of a model see of calibration samples: the Hessians of their outputs' squared error."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import unfold

from benchmarks.quantize.memory import watch_peak
from common.graph.build import StateSource, build
from common.graph.model import Argument, Graph, Node, Output, StateRef, ValueRef
from server.quantize.calibration.curvature import damped, inverse_factor

_BATCH = 16
_LINEAR = "aten.linear.default"
_GROUPS_POSITION = {"aten.conv2d.default": 6, "aten.convolution.default": 8}


@dataclass(frozen=True, slots=True)
class Layer:
    """A use of a weight that GPTQ knows how to handle.

    Attributes:
        weight: Name of the state.
        seen: The value that the weight is applied to.
        node: Index of the operator in the graph.
    """

    weight: str
    seen: ValueRef
    node: int


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """Of one weight, per group of its channels.

    Attributes:
        hessian: float32 [groups, k, k], damped; k the weights of a row.
        factor: float32 [groups, k, k], of ``inverse_factor``.
    """

    hessian: torch.Tensor
    factor: torch.Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Calibration:
    """All of a model, and what it took to get it.

    Attributes:
        curvatures: By name of the weight; embeddings have none.
        seconds, peak_bytes: Of the calibration.
    """

    curvatures: dict[str, Curvature]
    seconds: float
    peak_bytes: int

    @property
    def held_bytes(self) -> int:
        """Memory that it takes for as long as it lives."""
        return sum(item.hessian.nbytes + item.factor.nbytes for item in self.curvatures.values())


def calibrate(graph: Graph, source: StateSource, samples: Sequence[torch.Tensor]) -> Calibration:
    """Runs the floats on the samples and keeps what each linear and 2-d convolution layer saw."""
    peak, start = watch_peak(), time.perf_counter()
    curvatures = {}
    for name, hessian in hessians(graph, source, samples).items():
        stable = damped(hessian)
        curvatures[name] = Curvature(stable, inverse_factor(stable))
    return Calibration(curvatures, time.perf_counter() - start, peak.growth_bytes())


def hessians(graph: Graph, source: StateSource, samples: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """``X @ X.T`` per weight and group, float32 [groups, k, k], mean over the samples."""
    layers = tuple(layers_of(graph))
    runner = build(_observing(graph, layers))
    sums: dict[str, torch.Tensor] = {}
    count = len(samples[0])
    for start in range(0, count, _BATCH):
        batch = [tensor[start : start + _BATCH] for tensor in samples]
        seen = dict(zip(_values(layers), runner(source, *batch), strict=True))
        for layer in layers:
            columns = columns_of(graph.nodes[layer.node], seen[layer.seen], source.tensor(layer.weight))
            product = columns @ columns.transpose(1, 2) / count
            sums[layer.weight] = sums[layer.weight] + product if layer.weight in sums else product
    return sums


def layers_of(graph: Graph) -> Iterator[Layer]:
    """The linear and 2-d convolution layers with a stored weight, in order of execution."""
    ranks = {state.name: len(state.shape) for state in graph.states}
    for index, node in enumerate(graph.nodes):
        if node.op != _LINEAR and node.op not in _GROUPS_POSITION:
            continue
        seen, weight = node.args[:2]
        rank = 2 if node.op == _LINEAR else 4
        if isinstance(seen, ValueRef) and isinstance(weight, StateRef) and ranks[weight.name] == rank:
            yield Layer(weight.name, seen, index)


def columns_of(node: Node, seen: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """What the rows of the weight are multiplied with (im2col), float32 [groups, k, positions].

    Args:
        node: A linear or 2-d convolution operator.
        seen: Its input: [..., k], or [batch, channels, height, width].
        weight: [rows, k], or [rows, channels of a group, height, width].
    """
    if node.op == _LINEAR:
        return seen.reshape(1, -1, seen.shape[-1]).transpose(1, 2)
    position = _GROUPS_POSITION[node.op]
    stride, padding, dilation = (_pair(node, index, fallback) for index, fallback in ((3, 1), (4, 0), (5, 1)))
    groups = node.args[position] if len(node.args) > position else 1
    assert isinstance(groups, int)
    columns = unfold(seen, tuple(weight.shape[2:]), dilation, padding, stride)
    batch, _, places = columns.shape
    grouped = columns.view(batch, groups, -1, places).permute(1, 2, 0, 3)
    return grouped.reshape(groups, -1, batch * places)


def _pair(node: Node, position: int, fallback: int) -> tuple[int, int]:
    value: Argument = node.args[position] if len(node.args) > position else (fallback,)
    numbers = value if isinstance(value, tuple) else (value,)
    assert all(isinstance(number, int) for number in numbers)
    return (numbers[0], numbers[-1])  # type: ignore[return-value]


def _values(layers: Sequence[Layer]) -> tuple[ValueRef, ...]:
    return tuple(dict.fromkeys(layer.seen for layer in layers))


def _observing(graph: Graph, layers: Sequence[Layer]) -> Graph:
    """The same computation, with what the layers see as its outputs."""
    outputs = tuple(Output(value.name, value, "float32", ()) for value in _values(layers))
    return replace(graph, outputs=outputs)
