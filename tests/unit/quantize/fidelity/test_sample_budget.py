"""How many samples fit a time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.quantize.fidelity.sample_budget import affordable_samples


@pytest.mark.parametrize(
    ("available", "forwards", "row_seconds", "expected"),
    [
        (32, 10, 0.01, 32),  # 3.2 s in all
        (32, 100, 0.01, 20),  # 20 rows are 0.2 s, 100 times
        (32, 100, 0.19, 1),
        (32, 100, 0.21, 0),
        (1, 1, 19.0, 1),
        (32, 1, 0.0, 32),
    ],
)
def test_as_many_as_the_time_has_room_for(
    available: int, forwards: int, row_seconds: float, expected: int
) -> None:
    assert affordable_samples(available, forwards, lambda rows: rows * row_seconds, 20.0) == expected


def test_a_first_run_that_sets_up_does_not_decide() -> None:
    runs = iter((50.0, 0.1, 0.3))
    assert affordable_samples(4, 10, lambda _: next(runs), 20.0) == 4


@given(st.integers(1, 64), st.integers(1, 10_000), st.floats(1e-6, 10), st.floats(0, 10))
def test_no_more_samples_are_chosen_than_fit_and_no_fewer(
    available: int, forwards: int, row_seconds: float, call_seconds: float
) -> None:
    def seconds_of(rows: int) -> float:
        return call_seconds + rows * row_seconds

    count = affordable_samples(available, forwards, seconds_of, 20.0)
    assert 0 <= count <= available
    assert not count or seconds_of(count) * forwards <= 20.0 * (1 + 1e-6)
    assert count == available or seconds_of(count + 1) * forwards > 20.0 * (1 - 1e-6)
