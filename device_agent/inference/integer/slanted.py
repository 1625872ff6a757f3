"""Rows that do not fit into int8 as they are: codes a little closer together than the values of their level.

    values = (codes * slope + intercept + dither) // 128

At part-bit levels a value stands for one code at most. At the full level ``slope`` is below 128 and a value
may stand for two neighbouring codes; which of them it was is one bit, kept for just those values. Codes here
have ``2**(level-1)`` added, values 128. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from device_agent.inference.integer.lanes import FEWEST_DITHERED, HALF, UNIT, UNIT_BITS, Laid, dither

# The greatest ``slope * (codes + shift)``: with the dither it stays below 128 * 128.
_REACH: Final = 16256
_REACH_ROUNDED: Final = 16320
_REACH_BELOW: Final = 16384  # of the least: what is added only lifts it
_TRIFLE: Final = 1e-3  # so much a shift may be off by division
_BATCH: Final = 1 << 16  # weights that are worked on at a time, of two to four bytes each
_NO_BYTES: Final = np.zeros(0, np.uint8)


@dataclass(frozen=True, slots=True, eq=False)
class Slanted:
    """How the values of some rows follow from their codes.

    Attributes:
        rows: int32 [rows], ascending: which.
        drop: uint8 [rows]: 8 less their level.
        slope: uint16 [rows].
        intercept: int16 [rows].
        upper: uint8, packed bits: of each value that may stand for two codes, in order, whether it is the
            upper of them.
        begins: int32 [rows + 1]: where the bits of each row begin, and where the last ones end.
    """

    rows: NDArray[np.int32]
    drop: NDArray[np.uint8]
    slope: NDArray[np.uint16]
    intercept: NDArray[np.int16]
    upper: NDArray[np.uint8]
    begins: NDArray[np.int32]

    @classmethod
    def none(cls) -> Self:
        """No rows."""
        nothing = np.zeros(0, np.int32)
        slope, intercept = nothing.astype(np.uint16), nothing.astype(np.int16)
        return cls(nothing, _NO_BYTES, slope, intercept, _NO_BYTES, np.zeros(1, np.int32))

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        arrays = (self.rows, self.drop, self.slope, self.intercept, self.upper, self.begins)
        return sum(array.nbytes for array in arrays) if self.rows.size else 0

    def within(self, rows: slice, places: int) -> Iterator[tuple[slice, NDArray[np.intp]]]:
        """Those of a weight's rows that are among these, a few at a time: which of these, and of those."""
        if not self.rows.size:
            return
        start, stop = np.searchsorted(self.rows, (rows.start, rows.stop)).tolist()
        for some in _batches(start, stop, places):
            yield some, self.rows[some].astype(np.intp) - rows.start

    def values(self, some: slice, high: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The values of some of the rows, 128 added: uint8 [rows, places].

        Args:
            some: Which of these rows.
            high: uint8 [rows, places], codes moved up to 8 bits.
        """
        sums = _sums(_moved_down(high, self.drop[some]), self.slope[some], self.intercept[some])
        np.right_shift(sums, UNIT_BITS, out=sums)
        return sums.astype(np.uint8)

    def codes(self, some: slice, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The codes of some of the rows, moved up to 8 bits.

        Args:
            some: Which of these rows.
            values: uint8 [rows, places], 128 added.
        """
        slope, drop = self.slope[some].astype(np.int32), self.drop[some]
        steps = slope.astype(np.float32)[:, None]
        quotients = values.astype(np.float32)
        quotients -= dither(values.shape[1]).astype(np.float32) / np.float32(UNIT)
        quotients *= np.float32(UNIT) / steps
        # The greatest code of each value, and a part of one; a half keeps that away from whole numbers.
        most = np.float32(UNIT) - np.float32(0.5) - self.intercept[some, None].astype(np.float32)
        quotients += most / steps
        upper = quotients.astype(np.int16)
        if (slope < UNIT).any():
            quotients -= upper
            # Where so little is left, the code below has the same value.
            doubtful = np.flatnonzero(quotients < ((UNIT - slope) / slope).astype(np.float32)[:, None])
            first, last = self.begins[[some.start, some.stop]].tolist()
            bits = np.unpackbits(self.upper[first // 8 : -(-last // 8)])[first % 8 :]
            upper.reshape(-1)[doubtful[bits[: doubtful.size] == 0]] -= 1
        codes = upper.astype(np.uint8)
        if drop.any():
            codes <<= drop[:, None]
        return codes


def slant(
    laid: Laid, rows: NDArray[np.intp], drop: NDArray[np.uint8], shift: NDArray[np.float64]
) -> Slanted | None:
    """How some rows shall become values; None where int8 cannot tell the codes of one apart.

    Args:
        laid: All codes, moved up to 8 bits.
        rows: Which, ascending.
        drop: uint8 [all rows], 8 less the level of each.
        shift: float64 [all rows], in codes.
    """
    if not rows.size:
        return Slanted.none()
    slopes, intercepts, upper, counts = [], [], [], [np.zeros(1, np.intp)]
    for some in _batches(0, rows.size, laid.lanes.places):
        own = rows[some]
        codes = _moved_down(laid.lanes.pick_rows(laid.memory, own), drop[own])
        slope = _slopes(codes, drop[own], shift[own])
        if slope is None:
            return None
        half = HALF >> drop[own].astype(np.int32)
        lift = np.rint(slope * shift[own]).astype(np.int32) - slope.astype(np.int32) * half + UNIT * HALF
        # Of code 0; whatever codes a row has, it is within 16 bits, as their values are.
        intercept = lift.astype(np.int16)
        slopes.append(slope)
        intercepts.append(intercept)
        bits, count = _upper(_sums(codes, slope, intercept), slope)
        upper.append(bits)
        counts.append(count)
    begins = np.cumsum(np.concatenate(counts)).astype(np.int32)
    return Slanted(
        rows.astype(np.int32),
        drop[rows],
        np.concatenate(slopes),
        np.concatenate(intercepts),
        np.packbits(np.concatenate(upper)),
        begins,
    )


def _batches(start: int, stop: int, places: int) -> Iterator[slice]:
    step = max(1, _BATCH // places)
    for begin in range(start, stop, step):
        yield slice(begin, min(begin + step, stop))


def _moved_down(high: NDArray[np.uint8], drop: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Codes of 8 bits at the levels of their rows."""
    return high >> drop[:, None] if drop.any() else high


def _sums(
    codes: NDArray[np.uint8], slope: NDArray[np.uint16], intercept: NDArray[np.int16]
) -> NDArray[np.uint16]:
    """``codes * slope + intercept + dither``: uint16 [rows, places]. Terms may wrap around, sums do not."""
    sums = codes.astype(np.uint16)
    sums *= slope[:, None]
    sums += intercept.view(np.uint16)[:, None]
    sums += dither(codes.shape[1])
    return sums


def _upper(sums: NDArray[np.uint16], slope: NDArray[np.uint16]) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
    """For each value that may stand for two codes, in order, whether it is the upper; how many each row has.

    Within a value the upper code's sum is at least ``slope`` above its begin, and the lower one's less than
    ``slope`` below its end: counted from ``slope`` on, around the end, the upper ones come first.

    Args:
        sums: Given away.
        slope: Of each row.
    """
    if not (slope < UNIT).any():
        return np.zeros(0, np.bool_), np.zeros(len(slope), np.intp)
    sums -= slope[:, None]
    sums &= UNIT - 1
    gap = np.where(slope < UNIT, UNIT - slope, 0).astype(np.uint16)
    doubtful = sums < 2 * gap[:, None]
    counts = np.count_nonzero(doubtful, axis=1)
    return sums[doubtful] < np.repeat(gap, counts), counts


def _slopes(
    codes: NDArray[np.uint8], drop: NDArray[np.uint8], shift: NDArray[np.float64]
) -> NDArray[np.uint16] | None:
    """The steepest that keep each row within int8; None where one would be below one half."""
    if not np.isfinite(shift).all():
        return None
    unit, half = UNIT << drop.astype(np.int64), HALF >> drop.astype(np.int64)
    top = codes.max(axis=1) - half + shift
    bottom = codes.min(axis=1) - half + shift
    reach = _REACH_ROUNDED if codes.shape[1] < FEWEST_DITHERED else _REACH
    most = np.minimum(reach / np.maximum(top, 1.0), _REACH_BELOW / np.maximum(-bottom, 1.0))
    slope: NDArray[np.float64] = np.minimum(np.floor(most + _TRIFLE), unit)
    least = np.where(drop == 0, UNIT // 2, UNIT)
    if (slope < least).any():
        return None
    return np.where(drop == 0, np.minimum(slope, UNIT - 1), slope).astype(np.uint16)
