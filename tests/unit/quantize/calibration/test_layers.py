"""Which layers calibration knows, what takes their mean error, and what their weights are multiplied with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from common.graph.build import build
from common.graph.model import Graph, StateRef
from server.export.exported import Exported
from server.export.pipeline import export_model
from server.quantize.calibration.layers import Layer, columns_of, layers_of
from tests.support.calibrating import normed_net
from tests.support.graphs import Tensors
from tests.support.zoo import Function, transposed


def export(model: nn.Module, *shape: int) -> Exported:
    torch.manual_seed(0)
    return export_model(model.eval(), (torch.randn(*shape),))


def found(exported: Exported) -> list[Layer]:
    return list(layers_of(exported.graph, set(exported.states)))


KINDS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(6, 4), (3, 6)),
    "linear on sequences": (lambda: nn.Linear(6, 4), (3, 5, 6)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, 2, 1, 2), (3, 4, 11)),
    "conv1d in groups": (lambda: nn.Conv1d(4, 6, 3, groups=2), (3, 4, 11)),
    "conv2d": (lambda: nn.Conv2d(3, 5, 3), (2, 3, 7, 7)),
    "conv2d of uneven numbers": (lambda: nn.Conv2d(3, 5, (3, 2), (1, 2), (2, 1), (1, 2)), (2, 3, 7, 9)),
    "conv2d in groups": (lambda: nn.Conv2d(4, 8, 3, 2, 1, groups=2), (2, 4, 7, 7)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, padding=1, groups=4), (2, 4, 6, 6)),
    "depthwise with two outputs each": (lambda: nn.Conv2d(4, 8, 3, groups=4), (2, 4, 6, 6)),
    "pointwise": (lambda: nn.Conv2d(4, 8, 1, 2), (2, 4, 6, 6)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_times_its_columns_is_what_the_operator_answers(kind: str) -> None:
    make, shape = KINDS[kind]
    exported = export(make(), *shape)
    (layer,) = found(exported)
    weight = exported.states[layer.weight]
    columns = columns_of(exported.graph.nodes[layer.node], exported.inputs[0], tuple(weight.shape))

    rows = weight.reshape(layer.groups, -1, columns.shape[1])
    bias = exported.states["bias"] if "bias" in exported.states else torch.zeros(len(weight))
    answer = (rows @ columns).reshape(len(weight), -1)

    wanted = build(exported.graph)(Tensors(exported.states), *exported.inputs)[0]
    axis = wanted.dim() - 1 if isinstance(make(), nn.Linear) else 1
    without_bias = wanted.movedim(axis, 0).reshape(len(weight), -1) - bias[:, None]
    torch.testing.assert_close(answer, without_bias, rtol=0, atol=1e-5)
    assert layer.correction is not None
    assert (layer.correction.state, layer.correction.sign) == ("bias", 1)


def test_convolutions_with_a_norm_are_corrected_through_its_mean_and_come_in_order_of_execution() -> None:
    layers = found(export_model(*normed_net()))
    corrections = [(layer.correction.state, layer.correction.sign) for layer in layers if layer.correction]
    assert [layer.weight for layer in layers] == ["0.weight", "3.weight", "7.weight"]
    assert [layer.groups for layer in layers] == [1, 2, 1]
    assert corrections == [("1.running_mean", -1), ("4.running_mean", -1), ("7.bias", 1)]


def twice(x: torch.Tensor, layer: nn.Module) -> Any:
    return layer(layer(x))


def also_its_output(x: torch.Tensor, layer: nn.Module, norm: nn.Module) -> Any:
    seen = layer(x)
    return norm(seen), seen


def added_too(x: torch.Tensor, layer: nn.Module, norm: nn.Module) -> Any:
    seen = layer(x)
    return norm(seen) + seen


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (Function(twice, nn.Linear(6, 6)), (3, 6)),
        (Function(also_its_output, nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)), (2, 4, 3, 3)),
        (Function(added_too, nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)), (2, 4, 3, 3)),
        (nn.Conv2d(4, 4, 1, bias=False), (2, 4, 3, 3)),
        # Its channels are the steps, not the layer's rows, though there are as many.
        (nn.Sequential(nn.Linear(6, 6, bias=False), nn.BatchNorm1d(6)), (3, 6, 6)),
    ],
    ids=["shared bias", "outputs go out", "outputs are read elsewhere", "nothing there", "another axis"],
)
def test_nothing_takes_a_mean_error_that_is_not_the_layers_alone(model: nn.Module, shape: Any) -> None:
    (layer,) = found(export(model, *shape))
    assert layer.correction is None


class SharedBias(nn.Module):
    """One bias for two weights."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(4, 6))
        self.bias = nn.Parameter(torch.randn(4))

    def forward(self, x: torch.Tensor) -> Any:
        return functional.linear(x, self.first, self.bias) * functional.linear(x, self.second, self.bias)


class WideBias(nn.Module):
    """One number for all rows."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(4, 6)), nn.Parameter(torch.randn(1))

    def forward(self, x: torch.Tensor) -> Any:
        return functional.linear(x, self.weight, self.bias)


@pytest.mark.parametrize("model", [SharedBias(), WideBias()])
def test_a_bias_that_is_not_one_number_for_each_row_of_one_weight_is_left_alone(model: nn.Module) -> None:
    layers = found(export(model, 3, 6))
    assert layers
    assert all(layer.correction is None for layer in layers)


def test_only_wanted_weights_and_only_their_first_use_count() -> None:
    exported = export(nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)), 3, 6)
    assert [layer.weight for layer in layers_of(exported.graph, ["1.weight"])] == ["1.weight"]
    assert len(found(export(Function(twice, nn.Linear(6, 6)), 3, 6))) == 1


def test_transposed_and_three_dimensional_convolutions_and_tables_are_not_known() -> None:
    model, examples = transposed(2)
    assert isinstance(examples, tuple)
    exported = export_model(model.eval(), examples)
    assert [layer.weight for layer in found(exported)] == ["0.weight", "5.weight"]
    assert not found(export(nn.Conv3d(2, 2, 1), 2, 2, 3, 3, 3))
    ids = export_model(nn.Embedding(9, 4).eval(), (torch.zeros(3, 2, dtype=torch.int64),))
    assert not found(ids)


def test_a_weight_that_is_computed_first_is_not_known() -> None:
    graph: Graph = export(nn.Linear(6, 4), 3, 6).graph
    assert not list(layers_of(graph, []))
    assert all(isinstance(node.args[1], StateRef) for node in graph.nodes if "linear" in node.op)
