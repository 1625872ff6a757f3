"""A row keeps the scale of the version before where that costs no fidelity, and only there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from common.rows import Fit, Grid, at_level
from server.quantize.affine import Affine, quantize_rows
from server.quantize.frozen import FIT_TOLERANCE, GRID_TOLERANCE, Held, keep_fits, kept_rows, quantize_frozen
from server.quantize.refit import refit
from server.quantize.row_fit import fit_of, grid_of

WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.sampled_from([1, 4, 9, 36])),
    elements=st.floats(-100, 100, width=32),
)


def normal(rows: int = 20, row_weights: int = 400, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(rows, row_weights)).astype(np.float32)


def held_of(full: Affine, bits: int = 8) -> Held:
    return Held(bits, full.codes, grid_of(full), {})


def squared_error(weights: NDArray[np.float32], codes: NDArray[np.int8], grid: Grid) -> NDArray[np.float64]:
    affine = grid.affine()
    error = Affine(codes, affine.scale, affine.offset).weights().astype(np.float64) - weights
    energy: NDArray[np.float64] = np.square(error).sum(axis=1)
    return energy


@given(weights=WEIGHTS, bits=st.integers(2, 8))
def test_without_a_version_before_a_row_is_plain(weights: NDArray[np.float32], bits: int) -> None:
    plain = quantize_rows(weights, bits)
    other = held_of(quantize_rows(weights, 8 if bits < 8 else 7), 8 if bits < 8 else 7)
    for held in (None, other):
        found = quantize_frozen(weights, bits, held)
        np.testing.assert_array_equal(found.codes, plain.codes)
        np.testing.assert_array_equal(found.scale, plain.scale)
        np.testing.assert_array_equal(found.offset, plain.offset)


@given(weights=WEIGHTS, other=WEIGHTS)
def test_a_row_is_plain_under_its_own_grid_or_the_held_one(
    weights: NDArray[np.float32], other: NDArray[np.float32]
) -> None:
    other = np.resize(other, weights.shape)
    fresh, held = quantize_rows(weights, 8), held_of(quantize_rows(other, 8))
    frozen = quantize_rows(weights, 8, grid=held.grid)
    found = quantize_frozen(weights, 8, held)
    for row in range(len(weights)):
        choices = [
            (one.codes[row].tolist(), one.scale[row], one.offset[row])
            for one in (fresh, frozen)
        ]  # fmt: skip
        assert (found.codes[row].tolist(), found.scale[row], found.offset[row]) in choices


@given(weights=WEIGHTS, other=WEIGHTS)
def test_unchanged_weights_keep_codes_and_grid_bit_for_bit(
    weights: NDArray[np.float32], other: NDArray[np.float32]
) -> None:
    before = held_of(quantize_rows(np.resize(other, weights.shape), 8))
    second = quantize_frozen(weights, 8, before)  # on its own grids, or on others'
    third = quantize_frozen(weights, 8, held_of(second))
    np.testing.assert_array_equal(third.codes, second.codes)
    assert kept_rows(third, held_of(second)) == len(weights)


def test_tuned_rows_keep_their_grid_and_most_codes() -> None:
    weights = normal()
    before = held_of(quantize_rows(weights, 8))
    tuned = weights + np.float32(0.1) * before.grid.scale[:, None] * normal(seed=1)
    found = quantize_frozen(tuned, 8, before)
    assert kept_rows(found, before) >= 19
    changed, with_fresh = (np.mean(one.codes != before.codes) for one in (found, quantize_rows(tuned, 8)))
    assert 0 < changed < 0.8 * with_fresh


@pytest.mark.parametrize("factor", [0.9, 0.98, 1.02, 1.2])
def test_rows_whose_range_moved_get_a_grid_of_their_own(factor: float) -> None:
    weights = normal()
    before = held_of(quantize_rows(weights, 8))
    moved = weights.copy()
    moved[::2] *= np.float32(factor)
    found = quantize_frozen(moved, 8, before)
    same = grid_of(found).scale == before.grid.scale
    assert same[1::2].all()
    assert not same[::2].any()


def test_the_loss_stays_within_the_tolerance_on_average() -> None:
    weights = normal(rows=400)
    before = held_of(quantize_rows(weights, 8))
    random = np.random.default_rng(2)
    moved = weights * random.uniform(0.97, 1.03, (400, 1)).astype(np.float32)
    found, fresh = quantize_frozen(moved, 8, before), quantize_rows(moved, 8)
    kept = kept_rows(found, before)
    assert 50 < kept < 350
    lost, least = (squared_error(moved, one.codes, grid_of(one)).sum() for one in (found, fresh))
    assert lost <= (1 + GRID_TOLERANCE) * least


def test_weights_that_stand_on_a_grid_stay_on_it() -> None:
    random = np.random.default_rng(3)
    codes = random.integers(-127, 128, (10, 400))
    codes[:, :2] = -128, 127
    weights = (codes * np.float32(2**-7)).astype(np.float32)
    other = held_of(quantize_rows(weights * np.float32(0.997), 8))
    found = quantize_frozen(weights, 8, other)
    assert kept_rows(found, other) == 0
    assert not squared_error(weights, found.codes, grid_of(found)).any()


@given(weights=WEIGHTS, other=WEIGHTS, level=st.sampled_from([2, 4, 6, 7]), seen=st.booleans())
def test_a_kept_fit_is_nearly_the_best_and_comes_out_as_it_was(
    weights: NDArray[np.float32],
    other: NDArray[np.float32],
    level: int,
    seen: bool,  # noqa: FBT001
) -> None:
    other, step = np.resize(other, weights.shape), np.float32(1 << (8 - level))
    columns = np.random.default_rng(0).normal(1, 1, (weights.shape[1],))
    means = columns if seen else None

    def fitted(rows: NDArray[np.float32], full: Affine) -> Affine:
        return refit(np.right_shift(full.codes, np.int8(8 - level)), rows, full.scale * step, means)

    earlier = quantize_rows(other, 8)
    fit = fit_of(grid_of(earlier), fitted(other, earlier), level, 8, means)
    held = replace(held_of(earlier), fits={level: fit})
    full = quantize_frozen(weights, 8, held)
    best, grid = fitted(weights, full), grid_of(full)
    kept = keep_fits(best, full, weights, held, level=level, full_level=8, means=means)
    found, fresh = (fit_of(grid, each, level, 8, means) for each in (kept, best))

    def lost(one: Fit) -> NDArray[np.float64]:
        at = at_level(grid, one, level, 8, weights.shape[1])
        off = Affine(best.codes, at.scale, at.offset).weights() - weights.astype(float)
        along: NDArray[np.float64] = np.square(off @ means) if means is not None else np.zeros(len(off))
        total: NDArray[np.float64] = np.square(off).sum(axis=1) + along
        return total

    assert (lost(found) <= (1 + FIT_TOLERANCE) * lost(fresh) + 1e-9).all()
    for row in range(len(weights)):
        pair = (found.slope[row], found.shift[row])
        assert pair in [(one.slope[row], one.shift[row]) for one in (fit, fresh)]
