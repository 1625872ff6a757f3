"""Codes on a symmetric 8-bit grid, as integer kernels want their weights, and back again.

A weight is ``scale * (codes + shift)`` with a shift per row that is seldom whole: the zero point of the full
level, and about half a code at the levels below it. Kernels want ``scale * values`` with int8 values and no
offset. So each row is stretched as far as int8 goes, and rounded there:

    values = (codes * slope + intercept + dither) // 128

An offset works through the sum of a row's weights, and activations behind a rectifier are all of one sign:
what rounding does to that sum is what an answer suffers from, far more than from the rounding of each weight.
``dither``, the same in each row, runs evenly through [0, 128), so that the errors of a row cancel out.

At part-bit levels a value stands for one code at most. At the full level it is otherwise in rows with a zero
point: they reach beyond int8. In most only a few weights do. Then every code keeps its own value, ``slope``
is 128, and those few are cut, and remembered. Where cutting would cost more than rounding, ``slope`` is below
128 and a value may stand for two neighbouring codes; which of them it was is one bit, kept for just those
values. Either way every code comes back from memory alone, for some hundredth of a byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.rows import Affine
from device_agent.inference.integer.rows import Rows, chunks

UNIT_BITS: Final = 7
UNIT: Final = 1 << UNIT_BITS  # a slope of one value for each code
_FULL: Final = 8
_GREATEST: Final = 127
_HALF: Final = 63  # rounds to nearest, and keeps 255 codes at half a value each within int8
_GOLDEN: Final = 0.6180339887498949  # steps of this visit [0, 1) most evenly
_KEPT: Final = 32  # dithers, each of some kilobytes
_FEWEST: Final = 16  # columns, for errors to cancel out
# The greatest ``slope * (codes + shift)``: with the dither it stays below 128 * 128.
_REACH: Final = 16256
_REACH_ROUNDED: Final = 16320
_REACH_BELOW: Final = 16384  # of the least: what is added only lifts it
_SUM_BITS: Final = 15
_HALF_CODE: Final = 0.4999  # half of one, for arithmetic that rounds
_TRIFLE: Final = 1e-3  # so much a shift may be off by division
_FARTHEST: Final = 1024.0  # of a shift that is worth a look
_NO_BYTES: Final = np.zeros(0, np.uint8)
_NO_PLACES: Final = np.zeros(0, np.int32)
_NOISE: Final = 0.25  # mean square of what rounding with dither adds to a value


@dataclass(frozen=True, slots=True)
class Regrid:
    """How the values of some rows follow from their codes.

    Attributes:
        level: Of the codes.
        slope, intercept: int16 [rows].
        upper: uint8, packed bits: of each value that may stand for two codes, in order, whether it is the
            upper of them.
        cut_at: int32 [cut], flat indices of the values that were cut, ascending.
        cut_codes: uint8 [cut], the codes there.
    """

    level: int
    slope: NDArray[np.int16]
    intercept: NDArray[np.int16]
    upper: NDArray[np.uint8]
    cut_at: NDArray[np.int32]
    cut_codes: NDArray[np.uint8]

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        arrays = (self.slope, self.intercept, self.upper, self.cut_at, self.cut_codes)
        return sum(array.nbytes for array in arrays)


def regrid(
    unsigned: NDArray[np.uint8], level: int, affine: Affine, out: Rows
) -> tuple[NDArray[np.float32], Regrid] | None:
    """Codes become values.

    Args:
        unsigned: uint8 [rows, columns], ``codes + 2**(level-1)``.
        level: Bits per code, 2..8.
        affine: Of the rows, at this level.
        out: Gets the values, some or all of them where there is no result.

    Returns:
        float32 [rows], the scale of the values, and what leads back; None where the offset of a row is so far
        beyond its codes that int8 cannot tell them apart.
    """
    if level == _FULL:
        return _regrid_full(unsigned, affine, out)
    found = _lines(unsigned, level, _shift(affine))
    if found is None or int(found[0].min()) < UNIT:
        return None
    slope, intercept = found
    dither = _dither(unsigned.shape[1])
    for rows in chunks(unsigned.shape):
        sums = _sums(unsigned[rows], slope[rows], intercept[rows], level, dither)
        np.right_shift(sums, UNIT_BITS, out=sums)
        out.write(rows, sums)
    return _scale(affine, slope), Regrid(level, slope, intercept, _NO_BYTES, _NO_PLACES, _NO_BYTES)


def _regrid_full(
    unsigned: NDArray[np.uint8], affine: Affine, out: Rows
) -> tuple[NDArray[np.float32], Regrid] | None:
    """As ``regrid``, at the full level: codes keep their values where that serves."""
    shift = _shift(affine)
    if not (np.abs(shift) <= _FARTHEST).all():
        return None
    # NaN where the shift is not whole, as it is where it stands for a zero point.
    whole = np.where(np.abs(shift - np.rint(shift)) <= _TRIFLE, np.rint(shift), np.nan)
    slope = np.full(len(unsigned), UNIT, np.int16)
    intercept = (np.nan_to_num(whole) * UNIT).astype(np.int16)
    dither = _dither(unsigned.shape[1])
    cut_at: list[NDArray[np.intp]] = []
    cut_codes: list[NDArray[np.uint8]] = []
    upper: list[NDArray[np.bool_]] = []
    for rows in chunks(unsigned.shape):
        values = np.empty(unsigned[rows].shape, np.int8)
        cut, stretched = _subtract(unsigned[rows], whole[rows], values)
        if cut.size:
            cut_codes.append(unsigned[rows].reshape(-1)[cut])
            cut_at.append(cut + rows.start * unsigned.shape[1])
        if stretched.size:
            own = stretched + rows.start
            codes = unsigned[own]
            found = _lines(codes, _FULL, shift[own])
            if found is None:
                return None
            slope[own], intercept[own] = np.minimum(found[0], UNIT - 1), found[1]
            intercept[own] = np.rint(slope[own] * shift[own])
            sums = _sums(codes, slope[own], intercept[own], _FULL, dither)
            upper.append(_upper_bits(sums, slope[own, None]))
            values[stretched] = sums >> UNIT_BITS
        out.write(rows, values)
    return _scale(affine, slope), Regrid(
        _FULL,
        slope,
        intercept,
        np.packbits(np.concatenate(upper)) if upper else _NO_BYTES,
        np.concatenate(cut_at).astype(np.int32) if cut_at else _NO_PLACES,
        np.concatenate(cut_codes) if cut_codes else _NO_BYTES,
    )


def codes_of(values: Rows, how: Regrid, out: NDArray[np.uint8]) -> None:
    """The codes that values came from.

    Args:
        values: As ``regrid`` gave them.
        how: As it gave it too.
        out: uint8 [rows, columns]; gets ``codes + 2**(level-1)``.
    """
    back = _codes_of_full if how.level == _FULL else _codes_of_part
    back(values, how, out)
    out.reshape(-1)[how.cut_at] = how.cut_codes


def _codes_of_part(values: Rows, how: Regrid, out: NDArray[np.uint8]) -> None:
    """As ``codes_of``, at a part-bit level."""
    dither = _dither(out.shape[1])
    factor, term, sure = _multiples(how)
    for rows in chunks(out.shape):
        some = values.read(rows)
        multiples = some.astype(np.int16).view(np.uint16)
        multiples *= factor[rows, None]
        multiples += term[rows, None]
        np.right_shift(multiples, 16 - how.level, out=multiples)
        out[rows] = multiples
        close = np.flatnonzero(~sure[rows])
        own = close + rows.start
        out[own] = _quotients(some[close], how.slope[own], how.intercept[own], how.level, dither)


def _multiples(how: Regrid) -> tuple[NDArray[np.uint16], NDArray[np.uint16], NDArray[np.bool_]]:
    """What leads from values to codes without division: ``(values * factor + term) >> (16 - level)``.

    In 16 bits that wrap around: only the sum has to be within them. ``128 * value`` is the sum of its code,
    but for less than 128 either way: the dither and what was rounded off. The codes are right where this, and
    what the factor is off by, stay within half a code.

    Returns:
        The factor and the term of each row, and in which rows that is so.
    """
    one = float(1 << (16 - how.level))
    middle = ((1 << how.level) - 1) / 2
    slope = how.slope.astype(np.float64)
    factor = np.rint(UNIT * one / slope)
    codes_per_unit = factor / (UNIT * one)
    stretch = slope * codes_per_unit - 1
    first = how.intercept - slope * (1 << (how.level - 1))
    term = np.rint(one * (0.5 - first * codes_per_unit - middle * stretch))
    error = middle * np.abs(stretch) + (UNIT - 1) * codes_per_unit + 0.5 / one
    return factor.astype(np.uint16), term.astype(np.int64).astype(np.uint16), error < _HALF_CODE


def _codes_of_full(values: Rows, how: Regrid, out: NDArray[np.uint8]) -> None:
    """As ``codes_of``, at the full level, but for those that were cut."""
    dither = _dither(out.shape[1])
    bits = np.unpackbits(how.upper)
    read = 0
    for rows in chunks(out.shape):
        some = values.read(rows)
        zero = ((how.intercept[rows] >> UNIT_BITS) - UNIT).astype(np.uint8)
        np.subtract(some.view(np.uint8), zero[:, None], out=out[rows])
        stretched = np.flatnonzero(how.slope[rows] < UNIT)
        if stretched.size:
            own = stretched + rows.start
            slope, intercept = how.slope[own], how.intercept[own]
            codes = _quotients(some[stretched], slope, intercept, how.level, dither).astype(np.int16)
            lower, count = _lower(
                _sums(codes, slope, intercept, how.level, dither), slope[:, None], bits[read:]
            )
            codes.reshape(-1)[lower] -= 1
            read += count
            out[own] = codes


def _shift(affine: Affine) -> NDArray[np.float64]:
    """The offset in codes; NaN or infinite where there is no telling."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shift: NDArray[np.float64] = affine.offset.astype(np.float64) / affine.scale
    return shift


def _scale(affine: Affine, slope: NDArray[np.int16]) -> NDArray[np.float32]:
    """Of the values."""
    return affine.scale * (np.float32(UNIT) / slope.astype(np.float32))


def _lines(
    unsigned: NDArray[np.uint8], level: int, shift: NDArray[np.float64]
) -> tuple[NDArray[np.int16], NDArray[np.int16]] | None:
    """Slope and intercept of each row; None where a slope would be below one half."""
    half = 1 << (level - 1)
    if not np.isfinite(shift).all():
        return None
    top = unsigned.max(axis=1).astype(np.float64) - half + shift
    bottom = unsigned.min(axis=1).astype(np.float64) - half + shift
    reach = _REACH_ROUNDED if unsigned.shape[1] < _FEWEST else _REACH
    most = np.minimum(reach / np.maximum(top, 1.0), _REACH_BELOW / np.maximum(-bottom, 1.0))
    slope: NDArray[np.float64] = np.minimum(np.floor(most + _TRIFLE), 1 << (_SUM_BITS - level))
    if float(slope.min()) < UNIT // 2:
        return None
    return slope.astype(np.int16), np.rint(slope * shift).astype(np.int16)


def _subtract(
    unsigned: NDArray[np.uint8], whole: NDArray[np.float64], out: NDArray[np.int8]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Values of codes with a whole shift.

    Returns:
        Where values were cut, as flat indices; and rows in which that will not do, which have none of these.
    """
    columns = unsigned.shape[1]
    shift = np.nan_to_num(whole)
    hopeless = np.isnan(whole) | (np.abs(shift) > UNIT)
    far = np.flatnonzero((2 * np.square(shift) > _NOISE * columns) & ~hopeless)
    if far.size:
        # Here a single weight may cost too much, its square twice: no need to look for those beside it.
        some, by = unsigned[far], shift[far]
        farthest = np.where(by > 0, some.max(axis=1) + by - (2 * UNIT - 1), -by - some.min(axis=1))
        hopeless[far] = (2 * np.square(farthest) > _NOISE * columns) & (farthest > 0)
    # In bytes that wrap around, an addition has gone too far where its sum is on the wrong side.
    sums = unsigned + shift.astype(np.int16).astype(np.uint8)[:, None]
    beyond = sums < unsigned
    beyond ^= (shift < 0)[:, None]
    beyond[hopeless] = False
    np.bitwise_xor(sums, UNIT, out=out.view(np.uint8))
    cut = np.flatnonzero(beyond)
    rows = cut // columns
    up = shift[rows] > 0
    out.reshape(-1)[cut] = np.where(up, _GREATEST, -_GREATEST - 1)
    wrapped = sums.reshape(-1)[cut].astype(np.float64)
    excess = np.where(up, wrapped + 1, 256 - wrapped)
    count = len(unsigned)
    cost = np.bincount(rows, weights=excess * excess, minlength=count)
    cost += np.square(np.bincount(rows, weights=excess, minlength=count))  # of the row's sum
    stretched = hopeless | (cost > _NOISE * columns)
    return cut[~stretched[rows]], np.flatnonzero(stretched)


def _sums(
    unsigned: NDArray[np.uint8] | NDArray[np.int16],
    slope: NDArray[np.int16],
    intercept: NDArray[np.int16],
    level: int,
    dither: NDArray[np.int16],
) -> NDArray[np.int16]:
    """``codes * slope + intercept + dither``: int16 [rows, columns]."""
    sums = unsigned.astype(np.int16)
    sums *= slope[:, None]
    # For codes as they are stored the intercept may wrap in 16 bits; the sum wraps back.
    sums += (intercept - (slope.astype(np.int32) << (level - 1))).astype(np.int16)[:, None]
    sums += dither
    return sums


def _quotients(
    values: NDArray[np.int8],
    slope: NDArray[np.int16],
    intercept: NDArray[np.int16],
    level: int,
    dither: NDArray[np.int16],
) -> NDArray[np.float32]:
    """The greatest code of each value, as it is stored, and a part of one: float32 [rows, columns]."""
    steps = slope.astype(np.float32)
    exact = intercept.astype(np.float32) - steps * np.float32(1 << (level - 1))
    quotients = values.astype(np.float32)
    quotients -= dither.astype(np.float32) / np.float32(UNIT)
    quotients *= (np.float32(UNIT) / steps)[:, None]
    # A half keeps the division away from whole numbers.
    quotients += ((np.float32(UNIT) - np.float32(0.5) - exact) / steps)[:, None]
    return quotients


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


def _lower(
    sums: NDArray[np.int16], slope: NDArray[np.int16], bits: NDArray[np.uint8]
) -> tuple[NDArray[np.intp], int]:
    """Where the lower of two codes was meant, and of how many codes there was a doubt; sums of the upper."""
    sums &= UNIT - 1
    doubtful = np.flatnonzero(sums >= slope)
    return doubtful[bits[: doubtful.size] == 0], doubtful.size


@lru_cache(_KEPT)
def _dither(columns: int) -> NDArray[np.int16]:
    """int16 [columns] in [0, 128), read-only; where columns are too few, what rounds to nearest."""
    if columns < _FEWEST:
        dither = np.full(columns, _HALF, np.int16)
    else:
        steps = np.mod(np.arange(1, columns + 1, dtype=np.float64) * _GOLDEN, 1)
        dither = (steps * UNIT).astype(np.int16)
    dither.flags.writeable = False
    return dither
