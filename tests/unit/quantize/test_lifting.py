"""Lifts keep to the budget and are worth its bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInputError
from server.quantize.lifting import Lift, lifts_within

LEVELS = (6, 8)


@st.composite
def blocks(draw: st.DrawFn, gains: st.SearchStrategy[float]) -> dict[int, list[Lift]]:
    found = {}
    for index in draw(st.lists(st.integers(0, 30), max_size=8, unique=True)):
        levels = LEVELS[draw(st.integers(0, 2)) :]
        found[index] = [Lift(level, draw(st.integers(0, 500)), draw(gains)) for level in levels]
    return found


ANY_GAIN = st.floats(-1, 1) | st.just(float("nan"))


def size_of(lifts: dict[int, list[Lift]], chosen: dict[int, int]) -> int:
    return sum(
        lift.size_bytes for block, level in chosen.items() for lift in lifts[block] if lift.level <= level
    )


@given(lifts=blocks(ANY_GAIN), bases_bytes=st.integers(0, 5000), left_bytes=st.integers(0, 3000))
def test_bases_never_exceed_the_budget_and_levels_are_the_blocks_own(
    lifts: dict[int, list[Lift]], bases_bytes: int, left_bytes: int
) -> None:
    chosen = lifts_within(bases_bytes + left_bytes, bases_bytes, lifts)
    assert size_of(lifts, chosen) <= left_bytes
    for block, level in chosen.items():
        assert level in [lift.level for lift in lifts[block]]


@given(lifts=blocks(st.floats(1e-9, 1)))
def test_everything_is_lifted_where_everything_fits(lifts: dict[int, list[Lift]]) -> None:
    needed_bytes = sum(lift.size_bytes for steps in lifts.values() for lift in steps)
    chosen = lifts_within(100 + needed_bytes, 100, lifts)
    assert chosen == {block: steps[-1].level for block, steps in lifts.items() if steps}


@given(lifts=blocks(st.floats(1e-9, 1)), left_bytes=st.integers(0, 2000))
def test_no_room_is_left_for_a_lift_that_gains(lifts: dict[int, list[Lift]], left_bytes: int) -> None:
    chosen = lifts_within(left_bytes, 0, lifts)
    left_bytes -= size_of(lifts, chosen)
    for block, steps in lifts.items():
        above = [lift for lift in steps if lift.level > chosen.get(block, 0)]
        assert not above or above[0].size_bytes > left_bytes


def test_the_most_gain_for_each_byte_comes_first() -> None:
    lifts = {0: [Lift(8, 100, 0.5)], 1: [Lift(8, 100, 0.9)], 2: [Lift(8, 10, 0.06)]}
    assert lifts_within(1100, 1000, lifts) == {1: 8}
    assert lifts_within(1110, 1000, lifts) == {1: 8, 2: 8}
    assert list(lifts_within(1210, 1000, lifts)) == [1, 2, 0]


def test_a_shard_that_gains_much_takes_the_one_below_with_it() -> None:
    lifts = {0: [Lift(6, 10, -0.1), Lift(8, 10, 0.9)], 1: [Lift(8, 10, 0.2)]}
    assert lifts_within(20, 0, lifts) == {0: 8}
    assert lifts_within(15, 0, lifts) == {1: 8}


def test_nothing_is_lifted_where_nothing_fits_or_nothing_gains() -> None:
    assert lifts_within(100, 100, {0: [Lift(6, 1, 1.0), Lift(8, 1, 1.0)]}) == {}
    assert lifts_within(200, 100, {0: [Lift(6, 1, 0.0), Lift(8, 1, -1.0)]}) == {}
    assert lifts_within(100, 100, {}) == {}


def test_many_blocks_are_no_matter() -> None:
    lifts = {block: [Lift(6, 2, 1 / (block + 1)), Lift(8, 3, 0.5 / (block + 1))] for block in range(20_000)}
    chosen = lifts_within(50_000, 0, lifts)
    assert chosen[0] == 8
    assert size_of(lifts, chosen) in range(49_998, 50_001)


def test_bases_above_the_budget_are_refused_with_both_figures() -> None:
    with pytest.raises(InvalidInputError, match=r"2.0 KiB and 1.0 KiB are allowed") as caught:
        lifts_within(1024, 2048, {})
    assert "pin less" in caught.value.advice
