from __future__ import annotations

import numpy as np
import pytest

from benchmarks.quantize.metrics import entropy_bits, mean_cosine, mean_entropy_bits, neighbour_overlap


def test_cosine_ignores_length_and_sees_direction() -> None:
    rows = np.array([[1, 0], [0, 2]], np.float32)
    assert mean_cosine(3 * rows, rows) == pytest.approx(1)
    assert mean_cosine(rows[::-1].copy(), rows) == pytest.approx(0)
    assert mean_cosine(np.zeros_like(rows), rows) == 0


def test_overlap_counts_neighbours_that_stay_and_never_the_sample_itself() -> None:
    angles = np.array([0, 1, 2, 90, 91, 92]) * np.pi / 180
    rows = np.stack([np.cos(angles), np.sin(angles)], 1).astype(np.float32)
    assert neighbour_overlap(rows, rows, 2) == 1
    swapped = rows[[0, 1, 3, 2, 4, 5]]
    assert neighbour_overlap(swapped, rows, 2) == pytest.approx(1 / 3)
    assert neighbour_overlap(swapped, rows, 5) == 1


def test_entropy_of_equal_and_of_evenly_spread_codes() -> None:
    assert entropy_bits(np.zeros(9, np.int8)) == 0
    assert entropy_bits(np.arange(-8, 8, dtype=np.int8)) == pytest.approx(4)
    codes = {"flat": np.zeros(16, np.int8), "spread": np.arange(16, dtype=np.int8).reshape(4, 4)}
    assert mean_entropy_bits(codes) == pytest.approx(2)
