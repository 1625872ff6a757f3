"""Which values stay 8-bit, and what runs where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from common.graph.model import Node, Range, ValueRef
from common.graph.ranges import grid_of
from device_agent.inference.integer.plan import Plan, make_plan, without
from tests.support.graphs import node
from tests.support.integer_runs import plan_of
from tests.unit.inference.integer.test_layers import ADD, convolution, graph


def plan(*nodes: Node, ranged: tuple[str, ...], outputs: tuple[str, ...] = ()) -> Plan:
    found = graph(*nodes, outputs=outputs)
    ranges = tuple(Range(name, -1.0, 3.0) for name in ranged)
    return make_plan(replace(found, ranges=ranges), {"w", "w2", "m"})


RESIDUAL = (
    convolution("stem"),
    convolution("c", "stem", "w2"),
    node("sum", ADD, ValueRef("c"), ValueRef("stem")),
    node("r", "aten.relu.default", ValueRef("sum")),
    node("mean", "aten.mean.dim", ValueRef("r"), (2, 3)),
)
ALL = ("x", "stem", "c", "sum", "r", "mean")


def test_values_between_kernels_stay_8_bit() -> None:
    found = plan(*RESIDUAL, ranged=ALL)
    assert found.eight_bit == {"stem", "r"}
    assert found.grids["r"] == grid_of(-1.0, 3.0)
    assert list(found.layers) == [0, 3]
    assert (found.layers[3].added, found.layers[3].value) == ("stem", "r")
    assert found.weights == ("w", "w2")


def test_an_addition_to_a_value_without_a_range_is_left_out() -> None:
    found = plan(*RESIDUAL, ranged=tuple(set(ALL) - {"r", "sum"}))
    assert found.layers[1].added is None
    assert found.layers[1].value == "c"
    assert not found.eight_bit


def test_an_addition_of_a_float_is_left_out() -> None:
    nodes = (
        node("half", "aten.mul.Tensor", ValueRef("x"), 0.5),
        convolution("c"),
        node("sum", ADD, ValueRef("c"), ValueRef("half")),
        node("r", "aten.relu.default", ValueRef("sum")),
        convolution("d", "r", "w2"),
    )
    found = plan(*nodes, ranged=("x", "half", "c", "sum", "r", "d"))
    assert [layer.added for layer in found.layers.values()] == [None, None]
    assert found.eight_bit == frozenset()


def test_an_addition_whose_sum_is_read_as_floats_is_left_out() -> None:
    nodes = (*RESIDUAL[:4], node("y", "aten.sigmoid.default", ValueRef("r")))
    found = plan(*nodes, ranged=ALL)
    assert [layer.value for layer in found.layers.values()] == ["stem", "c"]


@pytest.mark.parametrize("outputs", [(), ("stem",), ("r",)])
def test_outputs_are_floats(outputs: tuple[str, ...]) -> None:
    found = plan(*RESIDUAL, ranged=ALL, outputs=outputs)
    assert not found.eight_bit & set(outputs)
    if outputs:  # and then the addition cannot stay 8-bit either
        assert all(layer.added is None for layer in found.layers.values())


def test_a_layer_whose_input_has_no_range_is_none() -> None:
    assert plan(*RESIDUAL, ranged=tuple(set(ALL) - {"x"})).weights == ("w2",)


def test_a_weight_that_comes_as_floats_is_none() -> None:
    found = graph(*RESIDUAL)
    assert make_plan(found, {"w"}).weights == ()


def test_a_value_that_is_read_as_floats_too_is_float() -> None:
    nodes = (
        convolution("stem"),
        convolution("c", "stem", "w2"),
        node("y", "aten.mul.Tensor", ValueRef("c"), ValueRef("stem")),
    )
    assert plan(*nodes, ranged=("x", "stem", "c", "y")).eight_bit == frozenset()


def test_arranging_and_the_greatest_pass_8_bits_on() -> None:
    nodes = (
        convolution("stem"),
        node("best", "aten.max_pool2d.default", ValueRef("stem"), (2, 2)),
        node("turned", "aten.transpose.int", ValueRef("best"), 2, 3),
        convolution("c", "turned", "w2"),
    )
    assert plan(*nodes, ranged=("x", "stem", "c")).eight_bit == {"stem", "best", "turned"}


def test_arranging_floats_passes_no_8_bits_on() -> None:
    nodes = (node("turned", "aten.transpose.int", ValueRef("x"), 2, 3), convolution("c", "turned"))
    found = plan(*nodes, ranged=("x", "c"))
    assert found.weights == ("w",)
    assert found.eight_bit == frozenset()


def test_a_value_in_a_list_is_read_as_floats() -> None:
    nodes = (
        convolution("stem"),
        node("both", "aten.cat.default", (ValueRef("stem"), ValueRef("x")), 1),
        convolution("c", "stem", "w2"),
    )
    assert plan(*nodes, ranged=("x", "stem", "both", "c")).eight_bit == frozenset()


def test_weights_can_be_left_to_floats() -> None:
    found = plan(*RESIDUAL, ranged=ALL)
    assert without(found, {"w"}).weights == ("w2",)
    assert without(found, {"w", "w2"}).layers == {}
    assert without(found, set()) == found


class Tied(nn.Module):
    """A table that is looked up and, turned around, gives the scores."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(50, 16)
        self.other = nn.Embedding(30, 16)
        self.line = nn.Linear(16, 16)

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        rows = self.line(self.table(ids) + self.other(ids % 30))
        return nn.functional.linear(rows, self.table.weight)


def test_tables_are_looked_up_and_weights_of_two_uses_are_no_layers() -> None:
    found_graph, found = plan_of(Tied(), torch.randint(0, 50, (3, 5)))
    assert sorted(found.lookups.values()) == ["other.weight", "table.weight"]
    assert all(found_graph.nodes[index].op == "aten.embedding.default" for index in found.lookups)
    assert found.weights == ("line.weight",)


class Broadcast(nn.Module):
    """Adds one pixel to all: a shortcut of another shape than the sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.squeeze = nn.Conv2d(8, 8, (8, 8))
        self.main = nn.Conv2d(8, 8, 3, padding=1)
        self.last = nn.Conv2d(8, 4, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        stem = torch.relu(self.stem(image))
        one = torch.relu(self.squeeze(stem))
        result: torch.Tensor = self.last(torch.relu(self.main(stem) + one))
        return result


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], int]] = {
    "one axis": (lambda: nn.Conv1d(4, 8, 3), (4, 12), 0),
    "transposed": (lambda: nn.ConvTranspose2d(4, 8, 3), (4, 6, 6), 0),
    "recurrent": (lambda: nn.Sequential(nn.Flatten(2), nn.Linear(36, 8)), (4, 6, 6), 1),
    "broadcast": (Broadcast, (3, 8, 8), 4),
}


@pytest.mark.parametrize("name", MODELS)
def test_exports_have_as_many_layers_as_kernels_could_do(name: str) -> None:
    model, shape, count = MODELS[name]
    _, found = plan_of(model(), torch.rand(2, *shape))
    assert len(found.layers) == count
