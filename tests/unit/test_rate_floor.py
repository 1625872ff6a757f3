from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.rate_floor import RateFloor

LEAST, ALLOWANCE = 1000.0, 10.0
STEPS = st.lists(st.tuples(st.floats(0, 5), st.integers(0, 20_000)), max_size=50)


@given(steps=STEPS)
def test_patience_ends_no_later_than_the_least_rate_allows(steps: list[tuple[float, int]]) -> None:
    floor = RateFloor(LEAST, ALLOWANCE)
    waited = moved = 0.0
    for seconds, count_bytes in steps:
        wait = min(seconds, floor.left_seconds)  # as who waits with a timeout does
        floor.waited(wait)
        waited += wait
        if not floor.left_seconds:
            break
        floor.received(count_bytes)
        moved += count_bytes
        assert 0 < floor.left_seconds <= ALLOWANCE
    assert waited <= ALLOWANCE + moved / LEAST + 1e-6


def test_a_peer_that_drips_is_given_up_however_regular_it_is() -> None:
    floor = RateFloor(LEAST, ALLOWANCE)
    waited_seconds = 0
    while floor.left_seconds:
        floor.waited(1)
        waited_seconds += 1
        if floor.left_seconds:
            floor.received(1)
    assert waited_seconds == 11


def test_a_peer_that_keeps_the_rate_is_never_given_up_and_saves_nothing_up() -> None:
    floor = RateFloor(LEAST, ALLOWANCE)
    for _ in range(1000):
        floor.waited(1)
        floor.received(1001)
        assert floor.left_seconds
    floor.received(10**9)
    floor.waited(ALLOWANCE)
    assert not floor.left_seconds


@pytest.mark.parametrize(("least", "allowance"), [(0, 1), (1, 0)])
def test_a_floor_needs_a_rate_and_an_allowance(least: float, allowance: float) -> None:
    with pytest.raises(ValueError, match="needs"):
        RateFloor(least, allowance)
