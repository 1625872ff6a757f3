"""Scales and offsets as blobs can say them: a rounded grid, and whole steps of fit at each level.

Rounding costs nothing that can be measured (ADR 12): a scale is off by a thousandth at most, and what a
rounded slope moves on average, the shift takes back.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.coding.row_sections import short_scale
from common.rows import MIN_SLOPE, SLOPE_STEPS, Fit, Grid, nominal, shift_bits
from server.quantize.affine import Affine

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


def fit_of(grid: Grid, wanted: Affine, level: int, full_level: int) -> Fit:
    """The fit that comes nearest to a level's scale and offset, and keeps the mean of each row.

    Args:
        grid: The rows' grid.
        wanted: Codes, scale and offset at the level.
        level: The level.
        full_level: The version's highest.
    """
    plain = nominal(grid, level, full_level)
    slope = _whole((wanted.scale / plain.scale - np.float32(1)) * np.float32(SLOPE_STEPS), MIN_SLOPE)
    scale = plain.scale * (np.float32(1) + slope / np.float32(SLOPE_STEPS))
    mean_code = wanted.codes.mean(axis=1, dtype=np.float64)
    offset = wanted.offset + (wanted.scale - scale) * mean_code
    steps = np.float64(1 << shift_bits(level, full_level, wanted.codes.shape[1]))
    shift = _whole((offset - plain.offset) / plain.scale * steps, -_MOST)
    return Fit(slope.astype(np.int16), shift.astype(np.int16))


def _whole(values: NDArray[np.floating], least: int) -> NDArray[np.float32]:
    whole: NDArray[np.float32] = np.clip(np.rint(values), least, _MOST).astype(np.float32)
    return whole
