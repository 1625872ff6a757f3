"""Which levels and which mode each tensor gets."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from common.errors import InvalidInputError
from common.graph.model import Graph, Input, Node, Output, StateRef, ValueRef
from common.graph.model import State as GraphState
from common.graph.uses import quantizable_states
from common.nesting import clamp_level
from server.quantize.format import Format
from server.quantize.formats import best_data_free, with_formats
from server.quantize.order import Order, Pin
from server.quantize.plan import State
from server.quantize.rounding import Rows, rounding
from tests.support.graphs import Tensors

WIDTH = 24


def node(name: str, op: str, *args: Any) -> Node:
    return Node(name, f"aten.{op}", "", args, {})


# A table of words, two linear layers and a third whose bias stands before its weight.
GRAPH = Graph(
    inputs=(Input("words", "int64", (None, 3)),),
    states=(
        GraphState("a.bias", "float32", (WIDTH,)),
        GraphState("a.weight", "float32", (WIDTH, WIDTH)),
        GraphState("b.weight", "float32", (WIDTH, WIDTH)),
        GraphState("c.bias", "float32", (WIDTH,)),
        GraphState("c.weight", "float32", (WIDTH, WIDTH)),
        GraphState("words", "float32", (50, WIDTH)),
    ),
    nodes=(
        node("vectors", "embedding.default", StateRef("words"), ValueRef("words")),
        node("one", "linear.default", ValueRef("vectors"), StateRef("a.weight"), StateRef("a.bias")),
        node("two", "linear.default", ValueRef("one"), StateRef("b.weight")),
        node("three", "linear.default", ValueRef("two"), StateRef("c.weight"), StateRef("c.bias")),
    ),
    outputs=(Output("three", ValueRef("three"), "float32", (None, 3, WIDTH)),),
)
IN_ORDER = ("words", "a.bias", "a.weight", "b.weight", "c.bias", "c.weight")


def weights() -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {state.name: torch.randn(state.shape, generator=random) for state in GRAPH.states}


def states() -> list[State]:
    shapes = {state.name: state.shape for state in GRAPH.states}
    quantized = set(quantizable_states(GRAPH))
    return [State(name, shapes[name], 4 * int(np.prod(shapes[name])), name in quantized) for name in IN_ORDER]


def found(
    order: Order, *, calibrated: bool = False, tensors: dict[str, torch.Tensor] | None = None
) -> tuple[State, ...]:
    return with_formats(GRAPH, states(), order, Tensors(tensors or weights()), calibrated=calibrated)


def forms(order: Order, **options: Any) -> dict[str, Format]:
    return {state.name: state.form for state in found(order, **options) if state.form}


def bases(order: Order) -> dict[str, int]:
    return {name: form.levels[0] for name, form in forms(order).items()}


def labels(order: Order, **options: Any) -> dict[str, str]:
    return {name: form.rounding.label for name, form in forms(order, **options).items()}


def test_without_a_wish_every_weight_has_all_levels_and_the_mode() -> None:
    for mode in ("floor", "adaptive"):
        order = Order((4, 6, 8), mode)
        assert {form.levels for form in forms(order).values()} == {(4, 6, 8)}
        assert set(labels(order).values()) == {mode}
        assert [state.name for state in found(order)] == list(IN_ORDER)
        assert not any(state.by_level for state in found(order))


def test_the_last_pin_that_matches_counts() -> None:
    order = Order((4, 6, 8), pins=(Pin("*.weight", 6), Pin("b.*", 8), Pin("[c-z].weight", 4)))
    assert bases(order) == {"words": 4, "a.weight": 6, "b.weight": 8, "c.weight": 4}


def test_the_first_and_the_last_weight_are_those_of_the_order_of_use_and_pins_beat_them() -> None:
    first_last = Order((4, 6, 8), first_last=8)
    assert bases(first_last) == {"words": 8, "a.weight": 4, "b.weight": 4, "c.weight": 8}
    pinned = Order((4, 6, 8), first_last=8, pins=(Pin("c.weight", 4),))
    assert bases(pinned) == {"words": 8, "a.weight": 4, "b.weight": 4, "c.weight": 4}


def test_a_pinned_tensor_begins_there_and_ends_at_full_bit() -> None:
    found_forms = forms(Order((3, 4, 6, 8), pins=(Pin("b.*", 6),)))
    assert found_forms["b.weight"].levels == (6, 8)
    assert [clamp_level(found_forms["b.weight"].levels, level) for level in (3, 4, 6, 8)] == [6, 6, 6, 8]


@pytest.mark.parametrize("pattern", ["nothing.*", "a.bias", "A.weight"])
def test_a_pin_of_nothing_is_refused_with_names_that_there_are(pattern: str) -> None:
    with pytest.raises(InvalidInputError, match="matches no tensor that becomes codes") as caught:
        found(Order((4, 8), pins=(Pin("a.weight", 8), Pin(pattern, 8))))
    assert "words, a.weight, b.weight, c.weight." in caught.value.advice


def test_a_pin_in_a_model_without_weights_is_refused() -> None:
    graph = Graph((), (), (), ())
    with pytest.raises(InvalidInputError) as caught:
        with_formats(graph, [], Order((4, 8), pins=(Pin("*", 8),)), Tensors({}), calibrated=False)
    assert caught.value.advice == "The model has none."
    assert with_formats(graph, [], Order((4, 8), first_last=8), Tensors({}), calibrated=True) == ()


def test_auto_without_samples_takes_what_comes_nearest_tensor_by_tensor() -> None:
    tensors = weights()
    taken = labels(Order((4, 6, 8), "auto"), tensors=tensors)
    for tensor, label in taken.items():
        rows = Rows(tensor, tensors[tensor].numpy())
        assert best_data_free(rows, (4, 6, 8)).label == label
    assert set(taken) == {"words", "a.weight", "b.weight", "c.weight"}


def test_of_the_modes_without_samples_each_has_tensors_that_it_serves_better() -> None:
    random = np.random.default_rng(0)
    won = set()
    for seed in range(40):
        weight = random.standard_t(2 + seed % 5, (4, 9 * (1 + seed % 4))).astype(np.float32)
        rows = Rows("w", weight, 9)
        best = best_data_free(rows, (4, 6, 8))
        won.add(best.label)
        assert (best.label == "floor") == (error("floor", rows) <= error("adaptive-refit", rows))
    assert won == {"floor", "adaptive-refit"}


def error(mode: str, rows: Rows) -> float:
    """As shares of the step that each level has."""
    refit = mode != "floor"
    levels = rounding(mode.removesuffix("-refit"), refit=refit)(rows, (4, 6, 8)).levels
    return sum(
        float(np.square(affine.weights() - rows.weights, dtype=np.float64).sum()) / 4.0 ** (8 - level)
        for level, affine in zip((4, 6), levels, strict=False)
    )


def test_with_samples_auto_is_calibrated_where_they_say_something_and_calibrated_else_floor() -> None:
    for mode in ("auto", "calibrated"):
        taken = labels(Order((4, 6, 8), mode), calibrated=True)
        assert [taken[name] for name in ("a.weight", "b.weight", "c.weight")] == ["calibrated"] * 3
        assert taken["words"] in ({"floor"} if mode == "calibrated" else {"floor", "adaptive-refit"})


def test_at_one_level_nothing_is_calibrated() -> None:
    assert set(labels(Order((8,), "calibrated"), calibrated=True).values()) == {"floor"}
    pinned = labels(Order((4, 8), "auto", pins=(Pin("a.*", 8),)), calibrated=True)
    assert (pinned["a.weight"], pinned["b.weight"]) == ("floor", "calibrated")
    assert set(labels(Order((8,), "adaptive")).values()) == {"adaptive"}


def test_biases_of_calibrated_layers_follow_the_levels_and_stand_behind_their_weight() -> None:
    order = Order((4, 6, 8), "calibrated", pins=(Pin("a.*", 8),))
    placed = found(order, calibrated=True)
    assert [state.name for state in placed] == [
        "words",
        "a.bias",
        "a.weight",
        "b.weight",
        "c.weight",
        "c.bias",
    ]
    assert [state.name for state in placed if state.by_level] == ["c.bias"]
    assert [state.name for state in placed if state.form] == ["words", "a.weight", "b.weight", "c.weight"]


def test_weights_that_are_not_finite_are_refused_where_modes_are_compared() -> None:
    tensors = weights()
    tensors["b.weight"][1, 1] = float("inf")
    with pytest.raises(InvalidInputError, match=r"'b\.weight' has NaN or infinite"):
        found(Order((4, 8), "auto"), tensors=tensors)


@pytest.mark.parametrize("value", [0.0, 2.5])
def test_constant_weights_are_no_matter(value: float) -> None:
    rows = Rows("w", np.full((1, 1), value, np.float32))
    best = best_data_free(rows, (4, 6, 8))
    for affine in best(rows, (4, 6, 8)).levels:
        np.testing.assert_allclose(affine.weights(), value, rtol=1e-6)
