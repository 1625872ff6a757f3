from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from server.quantize.ranges.choice import Bounds, best_bounds, serves, squared_error

_POINTS = arrays.arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e30, 1e30), unique=True)


def of(points: np.ndarray) -> Bounds:
    return Bounds(min(float(points.min()), 0.0), max(float(points.max()), 0.0))


@given(_POINTS.filter(lambda points: np.abs(points).max() > 1e-20), st.data())
def test_the_chosen_bounds_include_zero_and_lose_no_more_than_the_widest(
    points: np.ndarray, data: st.DataObject
) -> None:
    points = np.sort(points)
    counts = data.draw(arrays.arrays(np.int64, len(points), elements=st.integers(1, 10**6)))
    widest = of(points)
    chosen = best_bounds(points, counts, widest)
    assert chosen.low <= 0 <= chosen.high
    assert chosen.low < chosen.high
    assert chosen.low >= widest.low * 1.00001
    assert chosen.high <= widest.high * 1.00001
    rounded = Bounds(float(f"{widest.low:.6g}"), float(f"{widest.high:.6g}"))
    assert squared_error(points, counts, chosen) <= squared_error(points, counts, rounded)


def test_a_far_outlier_is_clipped_for_the_sake_of_the_many() -> None:
    points = np.sort(np.append(np.random.default_rng(0).normal(size=10_000), 30.0))
    counts = np.append(np.full(10_000, 1000), 1)
    chosen = best_bounds(points, counts, of(points))
    assert 3 < chosen.high < 29
    assert squared_error(points, counts, chosen) < 0.7 * squared_error(points, counts, of(points))


def test_no_narrower_bounds_of_a_fine_grid_lose_much_less() -> None:
    points = np.sort(np.random.default_rng(1).standard_t(3, size=4000))
    counts = np.ones(len(points), np.int64)
    widest = of(points)
    best = min(
        squared_error(points, counts, Bounds(widest.low * low, widest.high * high))
        for low in np.linspace(0.05, 1, 60)
        for high in np.linspace(0.05, 1, 60)
    )
    assert squared_error(points, counts, best_bounds(points, counts, widest)) < 1.05 * best


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_numbers_of_one_sign_leave_the_other_side_out(sign: float) -> None:
    points = np.sort(sign * np.random.default_rng(2).exponential(size=1000))
    chosen = best_bounds(points, np.ones(1000, np.int64), of(points))
    assert (chosen.low == 0) == (sign > 0)
    assert (chosen.high == 0) == (sign < 0)


def test_bounds_are_short_as_text_and_come_back_as_they_are() -> None:
    points = np.sort(np.random.default_rng(3).normal(size=100))
    chosen = best_bounds(points, np.ones(100, np.int64), of(points))
    for bound in (chosen.low, chosen.high):
        assert len(repr(bound)) <= 9
        assert float(repr(bound)) == bound


def test_bounds_of_before_serve_while_they_lose_little() -> None:
    points = np.sort(np.random.default_rng(0).normal(size=10_000))
    counts = np.ones(10_000, np.int64)
    best = best_bounds(points, counts, of(points))
    assert serves(points, counts, best, best)
    assert serves(points, counts, Bounds(1.01 * best.low, 1.01 * best.high), best)
    assert not serves(points, counts, Bounds(1.1 * best.low, 1.1 * best.high), best)
    assert not serves(points, counts, Bounds(0.5 * best.low, 0.5 * best.high), best)
