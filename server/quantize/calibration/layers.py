"""The layers that calibration can decide: where their weight, their input and their mean error stand."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import torch
from torch.nn.functional import unfold

from common.graph.model import Argument, Graph, Node, StateRef, ValueRef
from common.graph.uses import WeightUse, weight_uses

_LINEAR: Final = "aten.linear.default"
# Operator to the position of its groups.
_CONVOLUTIONS: Final = {
    "aten.conv1d.default": 6,
    "aten.conv2d.default": 6,
    "aten.convolution.default": 8,
}
_TRANSPOSED: Final = 6  # argument of aten.convolution
_CONVOLUTION_RANKS: Final = frozenset({3, 4})
_BIAS: Final = 2
# Operator to the position of the mean that it takes off its input.
_NORMS: Final = {
    "aten.batch_norm.default": 3,
    "aten._native_batch_norm_legit_no_training.default": 3,
}


@dataclass(frozen=True, slots=True)
class Correction:
    """A float state that can take a layer's mean error.

    Attributes:
        state: Its name.
        sign: 1 where it is added to the layer's outputs, -1 where it is taken off.
    """

    state: str
    sign: int


@dataclass(frozen=True, slots=True)
class Layer:
    """A use of a weight as ``outputs = weight @ columns``.

    Attributes:
        weight: Name of the state.
        seen: The value that the weight is applied to.
        node: Index of the operator in the graph.
        groups: How many runs of the weight's rows see columns of their own.
        correction: None where nothing can take the mean error.
    """

    weight: str
    seen: ValueRef
    node: int
    groups: int
    correction: Correction | None


def layers_of(graph: Graph, weights: Collection[str]) -> Iterator[Layer]:
    """The first use of each of these weights, where calibration can decide it, in order of execution.

    That is linear layers and convolutions of one or two dimensions, grouped ones too, not transposed ones.
    """
    shapes = {state.name: state.shape for state in graph.states}
    uses = weight_uses(graph)
    found: set[str] = set()
    for index, node in enumerate(graph.nodes):
        layer = _layer(graph, index, node, shapes, uses)
        if layer and layer.weight in weights and layer.weight not in found:
            found.add(layer.weight)
            yield layer


def columns_of(node: Node, seen: torch.Tensor, weight_shape: tuple[int, ...]) -> torch.Tensor:
    """What the rows of the weight are multiplied with (im2col), float32 [groups, k, positions].

    Args:
        node: The operator of a layer.
        seen: Its input: [..., k], or [batch, channels, *places].
        weight_shape: [rows, k], or [rows, channels of a group, *kernel].
    """
    if node.op == _LINEAR:
        return seen.reshape(1, -1, seen.shape[-1]).transpose(1, 2)
    stride, padding, dilation = (
        _numbers(node, index, fallback) for index, fallback in ((3, 1), (4, 0), (5, 1))
    )
    kernel = weight_shape[2:]
    if len(kernel) == 1:  # as a picture of one row
        seen, kernel = seen.unsqueeze(2), (1, *kernel)
        stride, padding, dilation = (1, stride[-1]), (0, padding[-1]), (1, dilation[-1])
    columns = unfold(seen, kernel, dilation, padding, stride)
    batch, _, places = columns.shape
    grouped = columns.view(batch, groups_of(node), -1, places).permute(1, 2, 0, 3)
    return grouped.reshape(grouped.shape[0], -1, batch * places)


def groups_of(node: Node) -> int:
    """How many groups the operator has; 1 for a linear one."""
    position = _CONVOLUTIONS.get(node.op, len(node.args))
    groups = node.args[position] if len(node.args) > position else 1
    return groups if isinstance(groups, int) else 1


def _layer(
    graph: Graph,
    index: int,
    node: Node,
    shapes: Mapping[str, tuple[int, ...]],
    uses: Mapping[str, tuple[WeightUse, ...]],
) -> Layer | None:
    if len(node.args) < _BIAS or node.kwargs:
        return None
    seen, weight = node.args[:_BIAS]
    if not isinstance(seen, ValueRef) or not isinstance(weight, StateRef):
        return None
    rank = len(shapes[weight.name])
    linear = node.op == _LINEAR and rank == 2  # noqa: PLR2004 - a matrix
    if not linear and not (_is_plain_convolution(node) and rank in _CONVOLUTION_RANKS):
        return None
    correction = _correction(graph, index, node, uses)
    if correction and shapes[correction.state] != shapes[weight.name][:1]:
        correction = None
    return Layer(weight.name, seen, index, groups_of(node), correction)


def _is_plain_convolution(node: Node) -> bool:
    if node.op not in _CONVOLUTIONS or isinstance(_argument(node, 4, 0), str):
        return False
    return node.op != "aten.convolution.default" or _argument(node, _TRANSPOSED, None) is False


def _correction(
    graph: Graph, index: int, node: Node, uses: Mapping[str, tuple[WeightUse, ...]]
) -> Correction | None:
    """The layer's own bias, or else the mean of the norm that alone reads its outputs; no shared one.

    After a linear layer, a norm need not have the layer's rows for its channels: those are on axis 1, the
    rows on the last. So it is a convolution's norm, or none.
    """
    bias = _argument(node, _BIAS, None)
    if bias is not None:
        candidate: Argument = bias
        sign = 1
    elif node.op == _LINEAR:
        return None
    else:
        readers = [other for other in graph.nodes[index + 1 :] if ValueRef(node.name) in other.references()]
        if len(readers) != 1 or readers[0].op not in _NORMS or readers[0].args[0] != ValueRef(node.name):
            return None
        if any(output.source == ValueRef(node.name) for output in graph.outputs):
            return None
        candidate, sign = _argument(readers[0], _NORMS[readers[0].op], None), -1
    if not isinstance(candidate, StateRef) or len(uses[candidate.name]) != 1:
        return None
    return Correction(candidate.name, sign)


def _argument(node: Node, position: int, fallback: Argument) -> Argument:
    return node.args[position] if len(node.args) > position else fallback


def _numbers(node: Node, position: int, fallback: int) -> tuple[int, int]:
    value = _argument(node, position, fallback)
    numbers = value if isinstance(value, tuple) else (value,)
    assert all(isinstance(number, int) for number in numbers)  # noqa: S101 - as the operator's schema has it
    return (numbers[0], numbers[-1])  # type: ignore[return-value]
