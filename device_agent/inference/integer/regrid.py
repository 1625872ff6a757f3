"""Codes on a symmetric 8-bit grid, as integer kernels want their weights, and back again. Pure.

A weight is ``scale * (codes + shift)`` with a shift per row that is seldom whole: the zero point of the full
level, and about half a code at the levels below it. Kernels want ``scale * values`` with int8 values and no
offset. So each row is stretched as far as int8 goes, and rounded there:

    values = (codes * slope + intercept + dither) // 128

An offset works through the sum of a row's weights, and activations behind a rectifier are all of one sign:
what rounding does to that sum is what an answer suffers from, far more than from the rounding of each weight.
``dither``, the same in each row, runs evenly through [0, 128), so that the errors of a row cancel out.

At part-bit levels a value stands for one code at most. At the full level ``slope`` is below 128 in rows with
a zero point, and a value may stand for two neighbouring codes. Which of them it was is one bit, kept for just
those values: the way back yields every code again, from memory alone, and costs some hundredth of a byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.rows import Affine

UNIT_BITS: Final = 7
UNIT: Final = 1 << UNIT_BITS  # a slope of one value for each code
_HALF: Final = 63  # rounds to nearest, and keeps 255 codes at half a value each within int8
_GOLDEN: Final = 0.6180339887498949  # steps of this visit [0, 1) most evenly
_FEWEST: Final = 16  # columns, for errors to cancel out
# The greatest ``slope * (codes + shift)``: with the dither it stays below 128 * 128.
_REACH: Final = 16256
_REACH_ROUNDED: Final = 16320
_SUM_BITS: Final = 15
_TRIFLE: Final = 1e-3  # so much a shift may be off by division
_CHUNK: Final = 1 << 16  # weights at a time, so that they stay in the cache
_BYTE: Final = 8


@dataclass(frozen=True, slots=True)
class Regrid:
    """How the values of some rows follow from their codes.

    Attributes:
        level: Of the codes.
        slope, intercept: int16 [rows].
        upper: uint8, packed bits: of each value that may stand for two codes, in order, whether it is the
            upper of them.
    """

    level: int
    slope: NDArray[np.int16]
    intercept: NDArray[np.int16]
    upper: NDArray[np.uint8]

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        return self.slope.nbytes + self.intercept.nbytes + self.upper.nbytes


def regrid(
    unsigned: NDArray[np.uint8], level: int, affine: Affine, out: NDArray[np.int8]
) -> tuple[NDArray[np.float32], Regrid] | None:
    """Codes become values.

    Args:
        unsigned: uint8 [rows, columns], ``codes + 2**(level-1)``.
        level: Bits per code, 2..8.
        affine: Of the rows, at this level.
        out: int8 [rows, columns]; gets the values.

    Returns:
        float32 [rows], the scale of the values, and what leads back; None where the offset of a row is so far
        beyond its codes that int8 cannot tell them apart.
    """
    dither = _dither(unsigned.shape[1])
    lines = _lines(unsigned, level, affine, _REACH_ROUNDED if unsigned.shape[1] < _FEWEST else _REACH)
    if lines is None:
        return None
    slope, intercept = lines
    zero = slope.astype(np.int32) << (level - 1)
    # Of the codes as they are stored; in 16 bits it may wrap, and the sum wraps back.
    stored = (intercept - zero).astype(np.int16)
    upper: list[NDArray[np.bool_]] = []
    for rows in _chunks(unsigned.shape):
        sums = unsigned[rows].astype(np.int16)
        sums *= slope[rows, None]
        sums += stored[rows, None]
        sums += dither
        if int(slope[rows].min()) < UNIT:
            upper.append(_upper_bits(sums, slope[rows, None]))
        np.right_shift(sums, UNIT_BITS, out=sums)
        out[rows] = sums
    scale = affine.scale * (np.float32(UNIT) / slope.astype(np.float32))
    bits = np.packbits(np.concatenate(upper)) if upper else np.zeros(0, np.uint8)
    return scale, Regrid(level, slope, intercept, bits)


def codes_of(values: NDArray[np.int8], how: Regrid) -> NDArray[np.uint8]:
    """The codes that values came from: uint8 [rows, columns], ``codes + 2**(level-1)``.

    Args:
        values: int8 [rows, columns], as ``regrid`` gave them.
        how: As it gave it too.
    """
    unsigned = np.empty(values.shape, np.uint8)
    slope = how.slope.astype(np.float32)
    # Sums of the codes as they are stored, and the greatest code of each value; a half keeps the division
    # away from whole numbers.
    stored = how.intercept.astype(np.float32) - slope * np.float32(1 << (how.level - 1))
    first = (np.float32(UNIT) - np.float32(0.5) - stored) / slope
    dither = _dither(values.shape[1])
    shift = dither.astype(np.float32) / np.float32(UNIT)
    step = np.float32(UNIT) / slope
    bits: NDArray[np.uint8] | None = None
    read = 0
    for rows in _chunks(values.shape):
        quotient = values[rows].astype(np.float32)
        quotient -= shift
        quotient *= step[rows, None]
        quotient += first[rows, None]
        if int(how.slope[rows].min()) < UNIT:
            bits = np.unpackbits(how.upper) if bits is None else bits
            codes = quotient.astype(np.int16)
            lower, count = _lower(codes, how.slope[rows, None], stored[rows], dither, bits[read:])
            codes.reshape(-1)[lower] -= 1
            read += count
            unsigned[rows] = codes
        else:
            unsigned[rows] = quotient
    return unsigned


def _lower(
    codes: NDArray[np.int16],
    slope: NDArray[np.int16],
    stored: NDArray[np.float32],
    dither: NDArray[np.int16],
    bits: NDArray[np.uint8],
) -> tuple[NDArray[np.intp], int]:
    """Where the lower of two codes was meant, and of how many codes there was a doubt."""
    parts = codes * slope
    parts += (stored.astype(np.int32) & 0xFFFF).astype(np.uint16).view(np.int16)[:, None]
    parts += dither
    parts &= UNIT - 1
    doubtful = np.flatnonzero(parts >= slope)
    return doubtful[bits[: doubtful.size] == 0], doubtful.size


def _lines(
    unsigned: NDArray[np.uint8], level: int, affine: Affine, reach: int
) -> tuple[NDArray[np.int16], NDArray[np.int16]] | None:
    """Slope and intercept of each row; None where a slope would be below one half."""
    half = 1 << (level - 1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shift = affine.offset.astype(np.float64) / affine.scale
    if not np.isfinite(shift).all():
        return None
    top = unsigned.max(axis=1).astype(np.float64) - half + shift
    bottom = unsigned.min(axis=1).astype(np.float64) - half + shift
    most = np.maximum(np.maximum(np.abs(top), np.abs(bottom)), 1.0)
    slope = np.minimum(np.floor(reach / most + _TRIFLE), 1 << (_SUM_BITS - level))
    if float(slope.min()) < UNIT // 2 or (level < _BYTE and float(slope.min()) < UNIT):
        return None
    return slope.astype(np.int16), np.rint(slope * shift).astype(np.int16)


def _upper_bits(sums: NDArray[np.int16], slope: NDArray[np.int16]) -> NDArray[np.bool_]:
    """For each value that may stand for two codes, in order, whether it is the upper.

    Within a value the upper code's sum is at least ``slope`` above its begin, and the lower one's less than
    ``slope`` below its end: counted from ``slope`` on, around the end, the upper ones come first.
    """
    parts = sums - slope
    parts &= UNIT - 1
    gap = UNIT - slope
    doubtful = np.flatnonzero(parts < 2 * gap)
    bits: NDArray[np.bool_] = parts.reshape(-1)[doubtful] < gap[doubtful // sums.shape[1], 0]
    return bits


def _dither(columns: int) -> NDArray[np.int16]:
    """int16 [columns] in [0, 128); where there are too few columns, what rounds to nearest."""
    if columns < _FEWEST:
        return np.full(columns, _HALF, np.int16)
    steps = np.mod(np.arange(1, columns + 1, dtype=np.float64) * _GOLDEN, 1)
    return (steps * UNIT).astype(np.int16)


def _chunks(shape: tuple[int, ...]) -> Iterator[slice]:
    rows, columns = shape
    step = max(1, _CHUNK // max(columns, 1))
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
