"""Nesting and packing: the two functions on which every byte depends."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.errors import IntegrityError, InvalidInputError
from common.nesting import Step, check_levels, clamp_level, join, lift, lower, nest, split, steps_of
from common.packing import pack, packed_size_bytes, unpack

EVERY_CHOICE_OF_LEVELS = [levels for count in range(1, 8) for levels in combinations(range(2, 9), count)]


@pytest.mark.parametrize("levels", EVERY_CHOICE_OF_LEVELS, ids=str)
def test_join_undoes_split_for_every_code(levels: tuple[int, ...]) -> None:
    full_bits = levels[-1]
    codes = np.arange(-(1 << (full_bits - 1)), 1 << (full_bits - 1)).astype(np.int8)

    nested = split(codes, levels)

    np.testing.assert_array_equal(join(nested.base, nested.shards, levels), codes)
    for reached, level in enumerate(levels):
        at_level = join(nested.base, nested.shards[:reached], levels)
        np.testing.assert_array_equal(at_level, np.floor_divide(codes, 1 << (full_bits - level)))
    for shard, (low, high) in zip(nested.shards, pairwise(levels), strict=True):
        assert int(shard.max()) < 1 << (high - low)


@given(
    levels=st.sampled_from(EVERY_CHOICE_OF_LEVELS),
    data=st.data(),
)
def test_any_shape_survives_split_and_join(levels: tuple[int, ...], data: st.DataObject) -> None:
    half = 1 << (levels[-1] - 1)
    codes = data.draw(
        hnp.arrays(np.int8, hnp.array_shapes(max_dims=4, max_side=7), elements=st.integers(-half, half - 1))
    )
    nested = split(codes, levels)
    joined = join(nested.base, nested.shards, levels)
    assert joined.shape == codes.shape
    np.testing.assert_array_equal(joined, codes)


@given(hnp.arrays(np.int8, st.integers(0, 100)), st.integers(1, 6))
def test_lift_undoes_lower(codes: np.ndarray[tuple[int], np.dtype[np.int8]], step_bits: int) -> None:
    low = np.bitwise_and(codes.view(np.uint8), np.uint8((1 << step_bits) - 1))
    np.testing.assert_array_equal(lift(lower(codes, step_bits), low, step_bits), codes)


@pytest.mark.parametrize("levels", EVERY_CHOICE_OF_LEVELS, ids=str)
def test_a_level_is_clamped_to_the_next_below_and_else_to_the_lowest(levels: tuple[int, ...]) -> None:
    for wanted in range(1, 10):
        level = clamp_level(levels, wanted)
        assert level in levels
        assert level == levels[0] or level <= wanted
        assert not any(level < other <= wanted for other in levels)


@pytest.mark.parametrize("levels", [(), (8, 4), (4, 4), (1, 8), (4, 9), (0,)])
def test_impossible_levels_are_refused_with_advice(levels: tuple[int, ...]) -> None:
    with pytest.raises(InvalidInputError, match="ascending bit-widths"):
        check_levels(levels)


def test_codes_beyond_the_full_level_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="range of 6 bits"):
        split(np.array([32], np.int8), (4, 6))


@given(levels=st.sampled_from(EVERY_CHOICE_OF_LEVELS), carry_bits=st.integers(0, 2), seed=st.integers(0, 99))
def test_codes_that_are_not_each_others_high_bits_are_joined_exactly(
    levels: tuple[int, ...], carry_bits: int, seed: int
) -> None:
    random = np.random.default_rng(seed)
    widths = tuple(min(high - low + carry_bits, 8) for low, high in pairwise(levels))
    codes = [random.integers(-(1 << (levels[0] - 1)), 1 << (levels[0] - 1), 40).astype(np.int8)]
    for step in steps_of(levels, widths):
        lows = random.integers(0, 1 << step.shard_bits, 40) - step.shard_zero
        half = 1 << (step.high - 1)
        codes.append(np.clip(codes[-1] * (1 << step.bits) + lows, -half, half - 1).astype(np.int8))

    nested = nest(codes, levels, widths)

    assert nested.shard_bits == widths
    for reached, expected in enumerate(codes):
        joined = join(nested.base, nested.shards[:reached], levels, widths)
        np.testing.assert_array_equal(joined, expected)
    for shard, width in zip(nested.shards, widths, strict=True):
        assert int(shard.max()) < 1 << width


def test_plain_codes_nest_as_split_takes_them_apart() -> None:
    codes = np.arange(-128, 128).astype(np.int8)
    nested = nest([lower(codes, 4), lower(codes, 2), codes], (4, 6, 8))
    taken_apart = split(codes, (4, 6, 8))
    assert nested.shard_bits == taken_apart.shard_bits == (2, 2)
    for one, other in zip(nested.shards, taken_apart.shards, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_step_knows_its_carry() -> None:
    plain, signed, wide = Step(4, 8, 4), Step(4, 8, 5), Step(6, 8, 4)
    assert [step.carry_bits for step in (plain, signed, wide)] == [0, 1, 2]
    assert [step.shard_zero for step in (plain, signed, wide)] == [0, 16, 8]


def test_codes_too_far_apart_and_shards_of_impossible_width_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="4 and 8 bits are too far apart"):
        nest([np.array([0], np.int8), np.array([16], np.int8)], (4, 8), (5,))
    for widths in ((1, 2), (2,), (9, 2), (2, 2, 2)):
        with pytest.raises(InvalidInputError, match=r"(S|s)hards of"):
            steps_of((4, 6, 8), widths)


@given(bits=st.integers(1, 8), data=st.data())
def test_packing_round_trips_for_every_width_and_length(bits: int, data: st.DataObject) -> None:
    values = data.draw(hnp.arrays(np.uint8, st.integers(0, 70), elements=st.integers(0, (1 << bits) - 1)))
    packed = pack(values, bits)
    assert packed.size == packed_size_bytes(values.size, bits)
    np.testing.assert_array_equal(unpack(packed, bits, values.size), values)


def test_packing_has_the_documented_bit_order() -> None:
    np.testing.assert_array_equal(pack(np.array([1, 2, 3], np.uint8), 4), np.array([0x21, 0x03], np.uint8))
    np.testing.assert_array_equal(
        pack(np.array([7, 0, 5], np.uint8), 3), np.array([0b01000111, 0b1], np.uint8)
    )


def test_packing_refuses_what_does_not_fit() -> None:
    with pytest.raises(InvalidInputError, match="does not fit 3 bits"):
        pack(np.array([8], np.uint8), 3)
    with pytest.raises(InvalidInputError, match="1 to 8"):
        pack(np.array([0], np.uint8), 9)
    with pytest.raises(IntegrityError, match="take 2 bytes, not 3"):
        unpack(np.zeros(3, np.uint8), 4, 4)


def test_a_list_of_levels_without_end_is_not_repeated_in_the_message() -> None:
    with pytest.raises(InvalidInputError, match="100000 levels are more than there are") as caught:
        check_levels((4,) * 100_000)
    assert len(str(caught.value)) < 200
