from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from server.quantize.ranges.histogram import BINS, Histogram

_NUMBERS = st.floats(-(2.0**99), 2.0**99, width=32).filter(lambda number: number == 0 or abs(number) > 1e-20)
_BATCHES = st.lists(arrays.arrays(np.float32, st.integers(1, 50), elements=_NUMBERS), min_size=1, max_size=6)


def histogram_of(*batches: np.ndarray) -> Histogram:
    histogram = Histogram()
    for batch in batches:
        histogram.add(torch.from_numpy(batch), float(batch.min()), float(batch.max()))
    return histogram


@given(_BATCHES)
def test_every_number_but_zero_is_counted_near_where_it_is_however_the_range_grows(
    batches: list[np.ndarray],
) -> None:
    histogram = histogram_of(*batches)
    numbers = np.sort(np.concatenate(batches)).astype(np.float64)
    assert histogram.low == min(numbers[0], 0)
    assert histogram.high == max(numbers[-1], 0)
    points, counts = histogram.points()
    met = numbers[numbers != 0]
    assert counts.sum() == len(met)
    # A bin is at most two BINS-th parts wide; float32 may put a number next door.
    widest = 4 * (histogram.high - histogram.low) / BINS
    np.testing.assert_allclose(np.repeat(points, counts), met, rtol=0, atol=widest)
    assert (points >= histogram.low).all()
    assert (points <= histogram.high).all()


def test_zeros_are_left_out_since_every_range_meets_them() -> None:
    points, counts = histogram_of(np.array([0, 0, -0.0, 1], np.float32)).points()
    assert (points.tolist(), counts.tolist()) == ([1.0], [1])
    assert len(histogram_of(np.zeros(5, np.float32)).points()[0]) == 0


def test_of_very_many_numbers_some_are_counted_and_the_ends_are_of_all() -> None:
    numbers = np.random.default_rng(0).normal(size=3_000_000).astype(np.float32)
    numbers[1] = 50
    histogram = histogram_of(numbers)
    points, counts = histogram.points()
    assert histogram.high == 50
    assert 100_000 < counts.sum() < 400_000
    assert abs(np.average(np.square(points), weights=counts) - 1) < 0.02


def test_numbers_too_small_for_float32_bins_are_as_good_as_zero() -> None:
    histogram = histogram_of(np.full(4, 1e-40, np.float32), np.array([1.0], np.float32))
    points, counts = histogram.points()
    assert (points[-1], counts.sum()) == (1.0, 1)
