from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from common.graph.model import Argument, Node, StateRef, ValueRef
from common.graph.operators import resolve
from server.export.turn import Turn, find_turn
from tests.support.graphs import node

X, W = ValueRef("x"), StateRef("w")


def _back(turn: Turn, stored: torch.Tensor) -> torch.Tensor:
    for op, argument in turn.back():
        stored = resolve(op, "")(stored, argument)
    return stored


@st.composite
def turns(draw: st.DrawFn) -> Turn:
    axes = draw(st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=2), min_size=2, max_size=4))
    atoms = tuple(size for axis in axes for size in axis)
    order = tuple(draw(st.permutations(range(len(atoms)))))
    cut = draw(st.integers(1, len(atoms) - 1))
    turned = [atoms[atom] for atom in order]
    stored = (math.prod(turned[:cut]), *turned[cut:])
    return Turn(tuple(math.prod(axis) for axis in axes), atoms, order, stored)


@given(turns())
def test_what_is_stored_turned_comes_back(turn: Turn) -> None:
    tensor = torch.arange(math.prod(turn.shape)).reshape(turn.shape)
    stored = turn.store(tensor)
    assert tuple(stored.shape) == turn.stored
    assert _back(turn, stored).equal(tensor)


@given(turns())
def test_a_layout_tells_where_the_model_finds_its_elements(turn: Turn) -> None:
    tensor = torch.arange(math.prod(turn.shape)).reshape(turn.shape)
    memory = turn.store(tensor).flatten()
    layout = turn.layout()
    offsets = torch.zeros((), dtype=torch.int64)
    for axis in layout.axes:
        for size, stride in axis:
            offsets = offsets.unsqueeze(-1) + torch.arange(size) * stride
    assert memory[offsets.flatten()].equal(tensor.flatten())


def _transposed(groups: Argument) -> Node:
    transposed = True
    return node("c", "aten.convolution.default", X, W, None, (1,), (0,), (1,), transposed, (0,), groups)


def test_each_form_of_weight_is_stored_by_output_channels() -> None:
    for shape, reader, stored in (
        ((8, 6), node("y", "aten.matmul.default", X, W), (6, 8)),
        ((3, 8, 6), node("y", "aten.bmm.default", X, W), (18, 8)),
        ((3, 6, 8), node("y", "aten.bmm.default", W, X), (18, 8)),
        ((4, 6, 3, 3), _transposed(1), (6, 4, 3, 3)),
        ((4, 3, 3, 3), _transposed(2), (6, 2, 3, 3)),
        ((4, 2, 5), _transposed(4), (8, 1, 5)),
    ):
        turn = find_turn("w", shape, [reader])
        assert turn is not None
        assert turn.stored == stored


def test_a_layer_of_a_stack_has_rows_of_its_own() -> None:
    layers = [
        step
        for index in range(3)
        for step in (
            node(f"w{index}", "aten.select.int", W, 0, index),
            node(f"y{index}", "aten.matmul.default", X, ValueRef(f"w{index}")),
        )
    ]
    turn = find_turn("w", (3, 8, 6), layers)
    assert turn == Turn((3, 8, 6), (3, 8, 6), (0, 2, 1), (18, 8))


def test_what_is_stored_well_or_is_no_weight_is_not_turned() -> None:
    for shape, reader in (
        ((6, 8), node("y", "aten.linear.default", X, W)),
        ((6, 8), node("y", "aten.matmul.default", W, X)),
        ((4, 1, 3), _transposed(4)),
        ((4, 3, 3), _transposed(0)),
        ((4, 3, 3), _transposed(3)),
        ((4, 3, 3), _transposed("2")),
        ((1, 1), node("y", "aten.matmul.default", X, W)),
        ((0, 4), node("y", "aten.matmul.default", X, W)),
        ((4, 0), node("y", "aten.matmul.default", X, W)),
        ((8,), node("y", "aten.matmul.default", X, W)),
        ((8, 6), node("y", "aten.add.Tensor", X, W)),
        ((1, 6), node("y", "aten.matmul.default", X, W)),
    ):
        assert find_turn("w", shape, [reader]) is None


def test_readers_that_want_other_rows_leave_it_as_it_is() -> None:
    linear = node("h", "aten.linear.default", X, W)
    assert find_turn("w", (6, 8), [linear, node("y", "aten.matmul.default", X, W)]) is None
    assert find_turn("w", (6, 8), [linear, node("y", "aten.add.Tensor", X, W)]) is None
