"""A plan covers every row once, respects its limits and does not depend on values."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInputError
from common.manifest import MAX_TENSORS_PER_BLOCK
from server.quantize.format import Format
from server.quantize.plan import MIN_MAX_BLOB_BYTES, BlockPlan, State, plan
from server.quantize.rounding import rounding

LEVELS = (4, 6, 8)
ALL_LEVELS = [pick for count in range(1, 8) for pick in combinations(range(2, 9), count)]
KIB = 1024


def weight(name: str, *shape: int) -> State:
    return State(name, shape, 4 * math.prod(shape), quantized=True)


def float_state(name: str, count: int) -> State:
    return State(name, (count,), 4 * count, quantized=False)


@st.composite
def models(draw: st.DrawFn) -> list[State]:
    states = []
    for index in range(draw(st.integers(1, 12))):
        if draw(st.booleans()):
            shape = (draw(st.integers(1, 700)), draw(st.integers(1, 700)))
            states.append(weight(f"layer{index}.weight", *shape))
        else:
            states.append(float_state(f"layer{index}.bias", draw(st.integers(0, 20_000))))
    return states


def rows_of(blocks: tuple[BlockPlan, ...], name: str) -> list[tuple[int, int]]:
    return [(part.start, part.stop) for block in blocks for part in block.tensors if part.name == name]


@given(
    states=models(),
    levels=st.sampled_from(ALL_LEVELS),
    limit_bytes=st.integers(MIN_MAX_BLOB_BYTES, 300 * KIB),
)
def test_every_row_and_float_is_in_exactly_one_block(
    states: list[State], levels: tuple[int, ...], limit_bytes: int
) -> None:
    blocks = plan(states, levels, limit_bytes)
    for state in states:
        if state.quantized:
            runs = rows_of(blocks, state.name)
            assert [row for start, stop in runs for row in range(start, stop)] == list(range(state.shape[0]))
        else:
            assert sum(block.floats.count(state.name) for block in blocks) == 1
    assert sum(len(block.floats) for block in blocks) == sum(not state.quantized for state in states)


@given(
    states=models(),
    levels=st.sampled_from(ALL_LEVELS),
    limit_bytes=st.integers(MIN_MAX_BLOB_BYTES, 300 * KIB),
)
def test_only_what_cannot_be_cut_exceeds_the_limit(
    states: list[State], levels: tuple[int, ...], limit_bytes: int
) -> None:
    for block in plan(states, levels, limit_bytes):
        assert block.tensors or block.floats
        if max(block.blob_bytes) > limit_bytes:
            assert not block.tensors
            assert len(block.floats) == 1


def test_tensors_come_in_the_order_of_use() -> None:
    states = [weight(f"w{index}", 8, 8) for index in range(80)]
    blocks = plan(states, LEVELS, MIN_MAX_BLOB_BYTES)
    assert [part.name for block in blocks for part in block.tensors] == [state.name for state in states]
    assert len(blocks) > 1


def test_floats_stay_with_the_layer_that_they_stand_by() -> None:
    states = [
        float_state("class_token", 16),
        weight("conv.weight", 512, 512),
        float_state("bn.bias", 512),
        weight("fc.weight", 512, 512),
        float_state("fc.bias", 512),
    ]
    first, second = plan(states, LEVELS, 192 * KIB)
    assert (first.tensors[0].name, set(first.floats)) == ("conv.weight", {"class_token", "bn.bias"})
    assert (second.tensors[0].name, second.floats) == ("fc.weight", ("fc.bias",))


def test_a_tensor_of_more_than_half_the_limit_has_blocks_of_its_own() -> None:
    states = [weight("small", 64, 64), weight("large", 300, 512), weight("after", 64, 64)]
    blocks = plan(states, LEVELS, 128 * KIB)
    assert [[part.name for part in block.tensors] for block in blocks] == [["small"], ["large"], ["after"]]


def test_a_large_tensor_is_cut_into_even_runs() -> None:
    blocks = plan([weight("w", 1000, 4096), float_state("b", 1000)], LEVELS, 1024 * KIB)
    assert rows_of(blocks, "w") == [(0, 500), (500, 1000)]
    assert blocks[0].floats == ("b",)


def test_one_row_larger_than_the_limit_stays_whole() -> None:
    blocks = plan([weight("w", 2, 1_000_000)], LEVELS, 64 * KIB)
    assert rows_of(blocks, "w") == [(0, 1), (1, 2)]


def test_many_small_floats_are_spread_over_blocks() -> None:
    states = [weight("w", 4, 4), *(float_state(f"f{index}", 1) for index in range(3 * MAX_TENSORS_PER_BLOCK))]
    blocks = plan(states, LEVELS, 4096 * KIB)
    assert all(len(block.floats) <= MAX_TENSORS_PER_BLOCK for block in blocks)
    assert sum(len(block.floats) for block in blocks) == 3 * MAX_TENSORS_PER_BLOCK


def test_a_model_that_fits_no_blob_is_refused_by_name() -> None:
    with pytest.raises(InvalidInputError, match="'mask' does not fit"):
        plan([float_state("mask", 20_000_000)], LEVELS, 1024 * KIB)


@pytest.mark.parametrize("limit_bytes", [0, MIN_MAX_BLOB_BYTES - 1, 4096 * KIB + 1])
def test_a_limit_out_of_range_is_refused(limit_bytes: int) -> None:
    with pytest.raises(InvalidInputError, match="not possible"):
        plan([weight("w", 4, 4)], LEVELS, limit_bytes)


@pytest.mark.parametrize("table", [50_000, 300_000])
def test_what_follows_the_levels_stays_beside_its_tensor_whatever_else_is_too_large(table: int) -> None:
    follower = replace(float_state("bias", 512), by_level=True)
    for states in ([follower, float_state("table", table)], [float_state("table", table), follower]):
        blocks = plan([weight("w", 512, 1000), *states], LEVELS, 256 * KIB)
        assert next(block.level_floats for block in blocks if block.tensors) == ("bias",)
        assert [block.floats for block in blocks if not block.tensors] == [("table",)]
        assert all(max(block.blob_bytes) <= 256 * KIB for block in blocks if block.tensors)


def test_what_follows_the_levels_is_in_the_blob_of_each() -> None:
    states = [weight("w", 8, 8), replace(float_state("bias", 8), by_level=True), float_state("other", 8)]
    (block,) = plan(states, LEVELS, 64 * KIB)
    assert (block.floats, block.level_floats) == (("other",), ("bias",))
    (without,) = plan([*states[:1], states[2]], LEVELS, 64 * KIB)
    added = [more - less for more, less in zip(block.blob_bytes, without.blob_bytes, strict=True)]
    assert added[0] == added[1] == added[2] >= 32


def test_tensors_of_other_forms_are_not_joined() -> None:
    low, high = Format((4, 6, 8), rounding("floor")), Format((8,), rounding("floor"))
    forms = [low, low, high, low]
    states = [replace(weight(f"w{index}", 8, 8), form=form) for index, form in enumerate(forms)]
    blocks = plan(states, LEVELS, 64 * KIB)
    assert [len(block.tensors) for block in blocks] == [2, 1, 1]
    assert [block.form for block in blocks] == [low, high, low]
    assert [len(block.blob_bytes) for block in blocks] == [3, 1, 3]


@given(states=models(), limit_bytes=st.integers(MIN_MAX_BLOB_BYTES, 300 * KIB))
def test_a_base_that_may_be_lifted_fits_at_full_bit_too(states: list[State], limit_bytes: int) -> None:
    liftable = plan(states, LEVELS, limit_bytes, liftable=True)
    at_full = [block for block in plan(states, (8,), limit_bytes) if block.tensors]
    rows = {part for block in liftable for part in block.tensors}
    assert sum(part.rows for part in rows) == sum(part.rows for block in at_full for part in block.tensors)
    for block in liftable:
        if sum(part.rows for part in block.tensors) > 1:
            weights = sum(part.weights for part in block.tensors)
            assert weights <= block.blob_bytes[0] <= limit_bytes
