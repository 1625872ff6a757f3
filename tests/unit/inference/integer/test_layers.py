"""Which nodes a kernel does together."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import nn

from common.graph.model import Argument, Graph, Input, Node, Output, State, StateRef, ValueRef
from device_agent.inference.integer.layers import Geometry, Layer, Norm, find_layers
from server.export.pipeline import export_model
from tests.support.graphs import node

ADD = "aten.add.Tensor"
NORM = "aten._native_batch_norm_legit_no_training.default"
GAIN, SHIFT = StateRef("gain"), StateRef("b")
STATES = (
    State("w", "float32", (4, 4, 3, 3)),
    State("w2", "float32", (4, 4, 3, 3)),
    State("m", "float32", (4, 4)),
    State("b", "float32", (4,)),
    State("gain", "float32", (4,)),
    State("mean", "float32", (4,)),
    State("variance", "float32", (4,)),
)


def convolution(
    name: str, source: str = "x", weight: str = "w", bias: str | None = None, **changes: Argument
) -> Node:
    geometry: dict[str, Argument] = {
        "stride": (1, 1),
        "padding": (1, 1),
        "dilation": (1, 1),
        "transposed": False,
        "output_padding": (0, 0),
        "groups": 1,
    }
    arguments = (StateRef(bias) if bias else None, *(geometry | changes).values())
    return node(name, "aten.convolution.default", ValueRef(source), StateRef(weight), *arguments)


def norm(name: str, source: str, gain: Argument = GAIN, shift: Argument = SHIFT) -> Node:
    return node(name, NORM, ValueRef(source), gain, shift, StateRef("mean"), StateRef("variance"), 0.1, 1e-5)


def graph(*nodes: Node, outputs: tuple[str, ...] = (), states: tuple[State, ...] = STATES) -> Graph:
    """Nodes over the input "x"; the last value is an output, and others that are named."""
    found = tuple(
        Output(name, ValueRef(name), "float32", (None, 4, 8, 8)) for name in (nodes[-1].name, *outputs)
    )
    return Graph((Input("x", "float32", (None, 4, 8, 8)),), states, nodes, found)


def only(*nodes: Node, outputs: tuple[str, ...] = (), addable: frozenset[str] = frozenset({"sum"})) -> Layer:
    (layer,) = find_layers(graph(*nodes, outputs=outputs), addable)
    return layer


def exported(model: nn.Module, *shape: int) -> tuple[Layer, ...]:
    found = export_model(model.eval(), (torch.rand(2, *shape),)).graph
    return find_layers(found, {item.name for item in found.nodes if item.op == ADD})


def test_a_convolution_alone_is_a_layer() -> None:
    layer = only(convolution("c", bias="b", stride=(2, 1), dilation=(1, 3), groups=1))
    assert layer == Layer(
        kind="convolution",
        weight="w",
        bias="b",
        geometry=Geometry((2, 1), (1, 1), (1, 3), 1),
        source="x",
        norm=None,
        added=None,
        low=-math.inf,
        high=math.inf,
        nodes=(0,),
        value="c",
    )
    assert layer.states == ("w", "b")


def test_it_takes_its_norm_and_its_activation() -> None:
    layer = only(
        convolution("c"),
        norm("n", "c"),
        node("n0", "getitem", ValueRef("n"), 0),
        node("y", "aten.relu.default", ValueRef("n0")),
    )
    assert layer.norm == Norm("gain", "b", "mean", "variance", 1e-5)
    assert (layer.nodes, layer.value, layer.low, layer.high) == ((0, 1, 2, 3), "y", 0.0, math.inf)
    assert layer.states == ("w", "gain", "b", "mean", "variance")


def test_norms_may_lack_gain_and_shift() -> None:
    layer = only(convolution("c"), norm("n", "c", None, None), node("y", "getitem", ValueRef("n"), 0))
    assert layer.norm == Norm(None, None, "mean", "variance", 1e-5)


@pytest.mark.parametrize(
    "wrong", [{"gain": ValueRef("g")}, {"shift": ValueRef("g")}, {"gain": ValueRef("g"), "shift": None}]
)
def test_a_norm_whose_gain_is_computed_stays_apart(wrong: dict[str, Argument]) -> None:
    computed = node("g", "aten.abs.default", StateRef("mean"))
    layer = only(computed, convolution("c"), norm("n", "c", **wrong), node("y", "getitem", ValueRef("n"), 0))
    assert (layer.norm, layer.value) == (None, "c")


ACTIVATIONS: list[tuple[str, tuple[Argument, ...], tuple[float, float]]] = [
    ("aten.relu.default", (), (0, math.inf)),
    ("aten.relu6.default", (), (0, 6)),
    ("aten.hardtanh.default", (), (-1, 1)),
    ("aten.hardtanh.default", (-2, 0.5), (-2, 0.5)),
    ("aten.hardtanh.default", (0.0, 6.0), (0, 6)),
    ("aten.clamp.default", (-1,), (-1, math.inf)),
    ("aten.clamp.default", (None, 3.5), (-math.inf, 3.5)),
    ("aten.clamp.default", (-0.25, 3.5), (-0.25, 3.5)),
    ("aten.clamp_min.default", (0,), (0, math.inf)),
]


@pytest.mark.parametrize(("op", "arguments", "bounds"), ACTIVATIONS)
def test_activations_that_clip_are_taken(
    op: str, arguments: tuple[Argument, ...], bounds: tuple[float, float]
) -> None:
    layer = only(convolution("c"), node("y", op, ValueRef("c"), *arguments))
    assert (layer.low, layer.high) == bounds
    assert layer.value == "y"


@pytest.mark.parametrize(
    "item",
    [
        node("y", "aten.silu.default", ValueRef("c")),
        node("y", "aten.leaky_relu.default", ValueRef("c"), 0.1),
        node("y", "aten.clamp.default", ValueRef("c"), max=1.0),
        node("y", "aten.clamp.default", ValueRef("c"), ValueRef("size")),
        node("y", "aten.clamp.default", ValueRef("c"), 0, ValueRef("size")),
        node("y", "aten.clamp_min.default", ValueRef("c"), ValueRef("size")),
    ],
)
def test_others_are_not(item: Node) -> None:
    layer = only(node("size", "aten.sym_size.int", ValueRef("x"), 0), convolution("c"), item)
    assert (layer.value, layer.low, layer.high) == ("c", -math.inf, math.inf)


@pytest.mark.parametrize("order", [("c", "x"), ("x", "c")])
def test_a_shortcut_is_taken_whichever_comes_first(order: tuple[str, str]) -> None:
    layer = only(
        convolution("c"),
        node("sum", ADD, *map(ValueRef, order)),
        node("y", "aten.relu.default", ValueRef("sum")),
    )
    assert (layer.added, layer.value, layer.nodes, layer.low) == ("x", "y", (0, 1, 2), 0.0)


@pytest.mark.parametrize(
    "addition",
    [
        node("sum", ADD, ValueRef("c"), ValueRef("c")),
        node("sum", ADD, ValueRef("c"), StateRef("b")),
        node("sum", ADD, ValueRef("c"), 2.0),
        node("sum", ADD, ValueRef("c"), ValueRef("x"), alpha=2),
        node("other", ADD, ValueRef("c"), ValueRef("x")),
    ],
)
def test_other_additions_are_not(addition: Node) -> None:
    assert only(convolution("c"), addition).value == "c"


def test_of_two_convolutions_the_later_takes_their_addition() -> None:
    first, second = find_layers(
        graph(
            convolution("one"),
            convolution("two", weight="w2"),
            node("sum", ADD, ValueRef("two"), ValueRef("one")),
        ),
        {"sum"},
    )
    assert (first.value, first.added) == ("one", None)
    assert (second.value, second.added) == ("sum", "one")


@pytest.mark.parametrize("kept", ["c", "n0", "sum"])
def test_a_value_that_is_an_output_ends_its_layer(kept: str) -> None:
    nodes = (
        convolution("c"),
        norm("n", "c"),
        node("n0", "getitem", ValueRef("n"), 0),
        node("sum", ADD, ValueRef("n0"), ValueRef("x")),
        node("y", "aten.relu.default", ValueRef("sum")),
    )
    assert only(*nodes).value == "y"
    assert only(*nodes, outputs=(kept,)).value == kept


@pytest.mark.parametrize("read", ["c", "n0", "sum"])
def test_a_value_that_others_read_ends_its_layer(read: str) -> None:
    nodes = (
        convolution("c"),
        norm("n", "c"),
        node("n0", "getitem", ValueRef("n"), 0),
        node("sum", ADD, ValueRef("n0"), ValueRef("x")),
        node("y", "aten.relu.default", ValueRef("sum")),
        node("z", "aten.mul.Tensor", ValueRef("y"), ValueRef(read)),
    )
    assert only(*nodes).value == read


def test_a_weight_of_two_uses_is_not_taken() -> None:
    assert not find_layers(graph(convolution("c"), convolution("d", "c")))


@pytest.mark.parametrize(
    "changes",
    [
        {"transposed": True},
        {"stride": (1,), "padding": (1, 1, 1)},
        {"stride": (ValueRef("x"), 1)},
        {"groups": ValueRef("x")},
    ],
)
def test_convolutions_that_no_kernel_does_are_left_alone(changes: dict[str, Argument]) -> None:
    changed = convolution("c", **changes)  # type: ignore[arg-type]
    assert not find_layers(graph(changed))


def test_a_computed_weight_or_bias_is_left_alone() -> None:
    args = convolution("c").args
    computed = node("v", "aten.abs.default", StateRef("w2"))
    for place in (1, 2):
        changed = (*args[:place], ValueRef("v"), *args[place + 1 :])
        assert not find_layers(graph(computed, replace(convolution("c"), args=changed)))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats_than_float32_are_left_alone(dtype: str) -> None:
    """Kernels give float32, and whoever reads the value expects its own type."""
    states = tuple(replace(state, dtype=dtype) for state in STATES)
    assert find_layers(graph(convolution("c")))
    assert not find_layers(graph(convolution("c"), states=states))


def test_a_linear_layer_takes_its_activation_but_no_addition() -> None:
    linear = node("l", "aten.linear.default", ValueRef("x"), StateRef("m"), StateRef("b"))
    layer = only(linear, node("y", "aten.relu.default", ValueRef("l")))
    assert (layer.kind, layer.value, layer.low, layer.bias) == ("linear", "y", 0.0, "b")
    assert only(linear, node("sum", ADD, ValueRef("l"), ValueRef("x"))).value == "l"


def test_a_norm_behind_a_linear_layer_stays_apart() -> None:
    """Its channels are axis 1, and the layer's rows the last axis, whichever that is."""
    layers = exported(nn.Sequential(nn.Linear(8, 5), nn.BatchNorm1d(7), nn.ReLU()), 7, 8)
    assert [(layer.norm, layer.high) for layer in layers] == [(None, math.inf)]


EXPORTED: list[tuple[Callable[[], nn.Module], Geometry]] = [
    (lambda: nn.Conv2d(8, 16, 3), Geometry()),
    (lambda: nn.Conv2d(8, 16, 3, stride=2), Geometry(stride=(2, 2))),
    (lambda: nn.Conv2d(8, 16, 3, padding="same"), Geometry(padding=(1, 1))),
    (lambda: nn.Conv2d(8, 16, (3, 1), padding=(1, 0)), Geometry(padding=(1, 0))),
    (lambda: nn.Conv2d(8, 16, 3, dilation=2), Geometry(dilation=(2, 2))),
    (lambda: nn.Conv2d(8, 16, 3, groups=4), Geometry(groups=4)),
    (lambda: nn.Conv2d(8, 8, 3, groups=8), Geometry(groups=8)),
]


@pytest.mark.parametrize(("layer", "geometry"), EXPORTED)
@pytest.mark.parametrize("after", [nn.ReLU, nn.ReLU6, lambda: nn.Hardtanh(0, 3)])
def test_what_is_exported_is_found(
    layer: Callable[[], nn.Module], geometry: Geometry, after: Callable[[], nn.Module]
) -> None:
    made = layer()
    channels = int(made.out_channels)  # type: ignore[arg-type]
    (found,) = exported(nn.Sequential(made, nn.BatchNorm2d(channels), after()), 8, 12, 12)
    assert found.geometry == geometry
    assert found.norm is not None
    assert found.bias == "0.bias"
    assert found.low == 0


@pytest.mark.parametrize(
    ("model", "shape"),
    [
        (lambda: nn.Conv1d(8, 16, 3), (8, 12)),
        (lambda: nn.Conv3d(2, 4, 3), (2, 5, 5, 5)),
        (lambda: nn.ConvTranspose2d(8, 16, 3), (8, 6, 6)),
        (lambda: nn.ConvTranspose1d(8, 16, 3), (8, 6)),
        (lambda: nn.Bilinear(8, 8, 4), None),
    ],
)
def test_other_layers_are_left_alone(model: Callable[[], nn.Module], shape: tuple[int, ...] | None) -> None:
    if shape is None:
        found = export_model(model().eval(), (torch.rand(2, 8), torch.rand(2, 8))).graph
        assert not find_layers(found)
        return
    assert not exported(model(), *shape)
