"""A plan covers every row once, respects its limits and does not depend on values."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInputError
from common.manifest import MAX_TENSORS_PER_BLOCK
from server.quantize.plan import MIN_MAX_BLOB_BYTES, BlockPlan, State, plan

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
    states = [weight(f"w{index}", 8, 8) for index in range(20)]
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
