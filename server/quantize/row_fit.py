"""Scales and offsets as blobs can say them: a rounded grid, and whole steps of fit at each level.

Rounding costs nothing that can be measured (ADR 12): a scale is off by a thousandth at most, and what a
rounded slope moves on average, the shift takes back.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common import rows
from common.coding.row_sections import short_scale
from common.rows import MIN_SLOPE, SLOPE_STEPS, Fit, Grid, at_level, nominal, shift_bits
from server.quantize.affine import Affine
from server.quantize.row_chunks import row_chunks

_MOST: Final = 32_767


def grid_of(full: Affine) -> Grid:
    """The grid of full-bit rows.

    Raises:
        ValueError: An offset is no whole number of scales.
    """
    zero = np.rint(-full.offset / full.scale)
    if not np.allclose(zero * full.scale, -full.offset, rtol=1e-4, atol=0):
        raise ValueError("the zero point of full-bit rows is no whole number")
    return Grid(short_scale(full.scale), zero.astype(np.int8))


def fit_of(
    grid: Grid, wanted: Affine, level: int, full_level: int, means: NDArray[np.float64] | None = None
) -> Fit:
    """The fit that comes nearest to a level's scale and offset, and keeps the mean of each row.

    Args:
        grid: The rows' grid.
        wanted: Codes, scale and offset at the level.
        level: The level.
        full_level: The version's highest.
        means: What columns are multiplied with on average, as ``refit`` takes it: then what each row makes of
            that is kept too, as far as whole steps allow.
    """
    plain = nominal(grid, level, full_level)
    steps = np.float64(1 << shift_bits(level, full_level, wanted.codes.shape[1]))
    mean_code = wanted.codes.mean(axis=1, dtype=np.float64)

    def near(slope_steps: int, shift_steps: int) -> Fit:
        """The fit that is so far from the nearest slope, and from the shift that keeps the mean then."""
        slope = (wanted.scale / plain.scale - np.float32(1)) * np.float32(SLOPE_STEPS)
        slope = _whole(np.rint(slope) + np.float32(slope_steps), MIN_SLOPE)
        scale = plain.scale * (np.float32(1) + slope / np.float32(SLOPE_STEPS))
        offset = wanted.offset + (wanted.scale - scale) * mean_code
        shift = _whole(np.rint((offset - plain.offset) / plain.scale * steps) + shift_steps, -_MOST)
        return Fit(slope.astype(np.int16), shift.astype(np.int16))

    best = near(0, 0)
    if means is None:
        return best
    lost = _losses(wanted, means)
    least = lost(at_level(grid, best, level, full_level, len(means)))
    for slope_steps, shift_steps in product((-1, 0, 1), repeat=2):
        fit = near(slope_steps, shift_steps)
        loss = lost(at_level(grid, fit, level, full_level, len(means)))
        better = loss < least
        least = np.minimum(loss, least)
        best = Fit(np.where(better, fit.slope, best.slope), np.where(better, fit.shift, best.shift))
    return best


def _losses(wanted: Affine, means: NDArray[np.float64]) -> Callable[[rows.Affine], NDArray[np.float64]]:
    """By how much more rows are off than as wanted, in the measure of ``refit``."""
    count, sum_of_means = len(means), means.sum()
    sums, squares, seen = np.zeros((3, len(wanted.codes)))
    for part in row_chunks(wanted.codes.shape):
        codes = wanted.codes[part].astype(np.float64)
        sums[part], squares[part] = codes.sum(axis=1), np.square(codes).sum(axis=1)
        seen[part] = (codes * means).sum(axis=1)

    def lost(fit: rows.Affine) -> NDArray[np.float64]:
        scale = fit.scale.astype(np.float64) - wanted.scale
        offset = fit.offset.astype(np.float64) - wanted.offset
        spread = scale**2 * squares + 2 * scale * offset * sums + offset**2 * count
        more: NDArray[np.float64] = spread + np.square(scale * seen + offset * sum_of_means)
        return more

    return lost


def _whole(values: NDArray[np.floating], least: int) -> NDArray[np.float32]:
    whole: NDArray[np.float32] = np.clip(np.rint(values), least, _MOST).astype(np.float32)
    return whole
