"""Codes are the plain INT-n ones; the refit is the best pair of scale and offset."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.nesting import join, lower
from server.quantize.affine import quantize_rows
from server.quantize.refit import refit
from server.quantize.rounding import Rows, rounding

LEVELS = (4, 6, 8)
ROWS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=17),
    elements=st.floats(-100, 100, width=32),
)
ANY_ROWS = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=9),
    elements=st.floats(allow_nan=False, allow_infinity=False, width=32),
)


def error(
    weights: NDArray[np.float32], codes: NDArray[np.int8], scale: object, offset: object
) -> NDArray[np.float64]:
    fitted = codes * np.asarray(scale, np.float64)[:, None] + np.asarray(offset, np.float64)[:, None]
    return np.asarray(((weights - fitted) ** 2).sum(axis=1))


@given(weights=ANY_ROWS, bits=st.integers(2, 8))
def test_codes_are_in_range_and_half_a_step_off_at_most(weights: NDArray[np.float32], bits: int) -> None:
    affine = quantize_rows(weights, bits)
    assert affine.codes.min() >= -(1 << (bits - 1))
    assert affine.codes.max() < 1 << (bits - 1)
    assert (affine.scale > 0).all()
    assert np.isfinite(affine.offset).all()
    fitted = affine.codes * affine.scale.astype(np.float64)[:, None] + affine.offset[:, None]
    # Clipping takes up to one half step more at one end, since the zero point is a whole number.
    tiny = np.finfo(np.float32).tiny  # below it a scale has few bits left
    assert (np.abs(weights - fitted) <= affine.scale[:, None] * 1.001 + 255 * tiny).all()


@given(weights=ROWS)
def test_zero_is_met_exactly(weights: NDArray[np.float32]) -> None:
    weights[:, 0] = 0
    affine = quantize_rows(weights, 8)
    np.testing.assert_allclose(affine.weights()[:, 0], 0, atol=1e-5)


def test_codes_are_those_of_torch() -> None:
    weights = torch.randn(64, 300, generator=torch.Generator().manual_seed(0))
    affine = quantize_rows(weights.numpy(), 8)
    zero_points = torch.from_numpy(np.rint(-affine.offset / affine.scale).astype(np.int64))
    torchs = torch.fake_quantize_per_channel_affine(
        weights, torch.from_numpy(affine.scale), zero_points.to(torch.int32), 0, -128, 127
    )
    np.testing.assert_allclose(affine.weights(), torchs.numpy(), atol=1e-5)


def test_constant_and_zero_rows() -> None:
    weights = np.array([[0, 0, 0], [3, 3, 3], [-2, -2, -2], [1e-45, 0, 0]], np.float32)
    affine = quantize_rows(weights, 8)
    np.testing.assert_allclose(affine.weights(), weights, atol=1e-6)
    for level in (4, 6):
        part = refit(lower(affine.codes, 8 - level), weights, affine.scale)
        np.testing.assert_allclose(part.weights(), weights, atol=1e-6)
        assert (part.scale > 0).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(bad: float) -> None:
    with pytest.raises(InvalidInputError, match=r"'layer\.weight' has NaN"):
        quantize_rows(np.array([[1, bad]], np.float32), 8, name="layer.weight")


@given(weights=ROWS)
def test_full_bit_codes_are_plain_int8_bit_for_bit(weights: NDArray[np.float32]) -> None:
    nested = rounding("floor")(Rows("w", weights), LEVELS).nested
    np.testing.assert_array_equal(join(nested.base, nested.shards, LEVELS), quantize_rows(weights, 8).codes)


@given(weights=ROWS, level=st.integers(2, 7))
def test_a_refit_is_never_worse_than_half_a_step_of_offset(weights: NDArray[np.float32], level: int) -> None:
    full = quantize_rows(weights, 8)
    step = 1 << (8 - level)
    codes = lower(full.codes, 8 - level)
    fitted = refit(codes, weights, full.scale)
    naive = error(weights, codes, full.scale * step, full.offset + full.scale * (step - 1) / 2)
    slack = 1e-6 * (weights.astype(np.float64) ** 2).sum(axis=1) + 1e-30
    assert (error(weights, fitted.codes, fitted.scale, fitted.offset) <= naive + slack).all()


def test_a_refit_is_the_least_squares_solution() -> None:
    weights = np.random.default_rng(0).normal(size=(5, 200)).astype(np.float32)
    codes = lower(quantize_rows(weights, 8).codes, 4)
    fitted = refit(codes, weights, np.ones(5, np.float32))
    for row in range(5):
        slope, intercept = np.polyfit(codes[row].astype(np.float64), weights[row], 1)
        assert fitted.scale[row] == pytest.approx(slope, rel=1e-5)
        assert fitted.offset[row] == pytest.approx(intercept, rel=1e-4)


def test_an_unknown_rounding_names_the_known_ones() -> None:
    with pytest.raises(InvalidInputError, match=r"'up' is not known\. Choose one of: adaptive, auto"):
        rounding("up")
