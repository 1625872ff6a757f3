"""Codes of every level as values of int8 that kernels execute, and back again.

A weight is ``scale * (codes + shift)`` with a shift per row that is seldom whole: the zero point of the full
level, and about half a code at the levels below it. Kernels want ``scale * values`` with int8 values and no
offset. Codes of a level are moved up to the 8 bits of the full one, so that all levels are on one grid, and
each row's shift is added:

    values = codes * 2**(8-level) - 128 + (shift * 2**(8-level) * 128 + dither) // 128

Whatever the level, a value is its code and a number that follows from row and place, modulo 256: so codes
come back by a subtraction, and the bits of a shard are added where values lie.

An offset works through the sum of a row's weights, and activations behind a rectifier are all of one sign:
what rounding does to that sum is what an answer suffers from, far more than from the rounding of each weight.
The dither, the same in each row, runs evenly through [0, 128), so that the errors of a row cancel out.

Rows with a zero point reach beyond int8, most with a few weights only. Those are cut, and remembered; what
their sum lacks, the row's shift makes up for. Where cutting would cost more than rounding does, the row is
slanted (``slanted.py``). Either way every code comes back from memory alone, for some hundredth of a byte.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.rows import Affine
from device_agent.inference.integer.lanes import HALF, UNIT, UNIT_BITS, Chunk, Laid, dither
from device_agent.inference.integer.slanted import Slanted, slant

_FULL: Final = 8
_GREATEST: Final = 255
_FARTHEST: Final = 127.0  # of a shift, in steps of 8 bits, that bytes take
_NEAR: Final = 2  # so far dither and make-up may move a value beyond its rounded shift
_NOISE: Final = 0.25  # mean square, in steps of 8 bits, of what rounding with dither adds to a value at most
_SHARE: Final = 0.02  # of the mean square of what a part-bit level rounds off, that cutting may add
_EIGHT: Final = 8
_NO_BYTES: Final = np.zeros(0, np.uint8)
_NO_PLACES: Final = np.zeros(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class Regrid:
    """How the values of a weight's rows follow from their codes.

    Attributes:
        lead: uint8 [rows]: what is added to codes of 8 bits, modulo 256.
        rest: uint8 [rows], in [0, 128): the dithers from ``128 - rest`` on add one more.
        cut_at: int32 [cut], ascending: values that were cut, as indices into the tensor.
        cut_codes: uint8 [cut], the codes there, moved up to 8 bits.
        slanted: Rows that all this does not hold for.
    """

    lead: NDArray[np.uint8]
    rest: NDArray[np.uint8]
    cut_at: NDArray[np.int32]
    cut_codes: NDArray[np.uint8]
    slanted: Slanted

    @property
    def size_bytes(self) -> int:
        """Memory that it takes."""
        arrays = (self.lead, self.rest, self.cut_at, self.cut_codes)
        return sum(array.nbytes for array in arrays) + self.slanted.size_bytes


class Gridding:
    """Between the codes and the values of a weight, chunk by chunk in any order.

    Args:
        how: As ``fit`` found it.
        laid: Where they lie.
    """

    def __init__(self, how: Regrid, laid: Laid) -> None:
        self._how = how
        self._laid = laid
        self._lead = laid.lanes.per_row(how.lead)
        self._rest = laid.lanes.per_row(how.rest) if how.rest.any() else None

    def codes(self, chunk: Chunk, out: NDArray[np.uint8]) -> None:
        """What a chunk's values came from.

        Args:
            chunk: Which.
            out: Gets the codes, moved up to 8 bits, in memory's order; zeros where it is padding. May be the
                memory of the values.
        """
        lanes, slanted = self._laid.lanes, self._how.slanted
        values = self._laid.memory[chunk.blocks]
        apart = [
            (rows, slanted.codes(some, lanes.pick_rows(values, rows) ^ np.uint8(HALF)))
            for some, rows in slanted.within(chunk.rows, lanes.places)
        ]
        np.subtract(lanes.folded(values), self._lead[chunk.blocks], out=lanes.folded(out))
        more = self._more(chunk, out.shape)
        if more is not None:
            np.subtract(out, more, out=out)
        if self._how.cut_at.size:
            at, some = self._cut(chunk)
            out.reshape(-1)[at] = self._how.cut_codes[some]
        for rows, codes in apart:
            lanes.put_rows(out, rows, codes)

    def values(self, chunk: Chunk) -> None:
        """A chunk's codes, moved up to 8 bits, become values."""
        lanes, slanted = self._laid.lanes, self._how.slanted
        codes = self._laid.memory[chunk.blocks]
        apart = [
            (rows, slanted.values(some, lanes.pick_rows(codes, rows)) ^ np.uint8(HALF))
            for some, rows in slanted.within(chunk.rows, lanes.places)
        ]
        folded = lanes.folded(codes)
        np.add(folded, self._lead[chunk.blocks], out=folded)
        more = self._more(chunk, codes.shape)
        if more is not None:
            np.add(codes, more, out=codes)
        if self._how.cut_at.size:
            at, some = self._cut(chunk)
            above = self._how.lead[self._how.cut_at[some] // lanes.places] >= HALF
            codes.reshape(-1)[at] = np.where(above, HALF - 1, HALF)
        for rows, values in apart:
            lanes.put_rows(codes, rows, values)

    def _more(self, chunk: Chunk, shape: tuple[int, ...]) -> NDArray[np.uint8] | None:
        """What the dither adds to each value, 0 or 1; None where that is nothing."""
        if self._rest is None:
            return None
        more = np.empty(shape, np.bool_)
        self._laid.lanes.dithered(self._rest[chunk.blocks], more)
        return more.view(np.uint8)

    def _cut(self, chunk: Chunk) -> tuple[NDArray[np.intp], slice]:
        """Where values of a chunk are cut, as flat indices into its memory, and which those are of all."""
        lanes, cut_at = self._laid.lanes, self._how.cut_at
        begin, end = chunk.rows.start * lanes.places, chunk.rows.stop * lanes.places
        first, last = np.searchsorted(cut_at, (begin, end))
        return lanes.indices_of(cut_at[first:last] - begin), slice(first, last)


def fit(laid: Laid, levels: NDArray[np.uint8], affine: Affine, *, exact: bool) -> Regrid | None:
    """How codes shall become values.

    Args:
        laid: The codes, moved up to 8 bits; zeros where it is padding.
        levels: uint8 [rows], 2..8.
        affine: Of the rows, at their levels.
        exact: Whether the values shall be the codes and the offset stay apart.

    Returns:
        None where int8 cannot hold a row with its offset.
    """
    lanes, drop = laid.lanes, _FULL - levels
    if exact:
        zeros = np.zeros(lanes.rows, np.uint8)
        return Regrid(zeros + np.uint8(HALF), zeros, _NO_PLACES, _NO_BYTES, Slanted.none())
    shift = _shift(affine)
    steps = shift * (1 << drop.astype(np.int64))
    far = ~(np.abs(steps) <= _FARTHEST)
    units = np.rint(np.where(far, 0, steps) * UNIT).astype(np.int32)
    near, codes = _near(laid, units >> UNIT_BITS)
    rows, places = np.divmod(near, lanes.places)
    missing = _per_row(rows, _beyond(codes + units[rows] / UNIT), lanes.rows)
    made_up = np.rint(missing * (UNIT / lanes.places)).astype(np.int32)
    units += made_up
    beyond = _beyond(codes + ((units[rows] + dither(lanes.places)[places]) >> UNIT_BITS))
    rest = units & (UNIT - 1)
    # What cutting costs a row, and the error of its sum; at the full level what the dither costs too.
    cost = _per_row(rows, np.square(beyond), lanes.rows)
    cost += np.square(_per_row(rows, beyond, lanes.rows) - made_up * (lanes.places / UNIT))
    cost += np.where(drop == 0, rest * (UNIT - rest) / UNIT**2, 0) * lanes.places
    allowed = _NOISE + np.where(drop == 0, 0, _SHARE / 12 * 4.0**drop)
    apart = far | (np.abs(made_up) > UNIT) | (cost > allowed * lanes.places)
    slanted = slant(laid, np.flatnonzero(apart), drop, shift)
    if slanted is None:
        return None
    units[apart] = 0
    cut = np.flatnonzero((beyond != 0) & ~apart[rows])
    return Regrid(
        lead=((units >> UNIT_BITS) + HALF).astype(np.uint8),
        rest=(units & (UNIT - 1)).astype(np.uint8),
        cut_at=near[cut].astype(np.int32),
        cut_codes=codes[cut].astype(np.uint8),
        slanted=slanted,
    )


def scale_of(how: Regrid, levels: NDArray[np.uint8], affine: Affine) -> NDArray[np.float32]:
    """float32 [rows], of the values."""
    slope = (UNIT << (_FULL - levels).astype(np.int32)).astype(np.float32)
    slope[how.slanted.rows] = how.slanted.slope
    return affine.scale * (np.float32(UNIT) / slope)


def _near(laid: Laid, whole: NDArray[np.int32]) -> tuple[NDArray[np.intp], NDArray[np.int32]]:
    """Codes that a row's whole shift, and one step more for each of make-up and dither, may take too far.

    Returns:
        Where they are in the tensor, ascending, and what they are.
    """
    lanes, below = laid.lanes, whole < 0
    bounds = lanes.per_row(np.where(below, -whole, _GREATEST - _NEAR - whole).astype(np.uint8))
    flips, flipped = lanes.per_row(below.astype(np.uint8)), below.any()
    found, codes = [_NO_PLACES.astype(np.intp)], [_NO_BYTES]
    for chunk in lanes.chunks():
        high = laid.memory[chunk.blocks]
        near = np.greater(lanes.folded(high), bounds[chunk.blocks]).view(np.uint8)
        if flipped:
            np.bitwise_xor(near, flips[chunk.blocks], out=near)
        at = _where(near.reshape(-1))
        found.append(lanes.places_of(at) + chunk.rows.start * lanes.places)
        codes.append(high.reshape(-1)[at])
    every, values = np.concatenate(found), np.concatenate(codes)
    order = np.argsort(every)
    return every[order], values[order].astype(np.int32)


def _shift(affine: Affine) -> NDArray[np.float64]:
    """The offset in codes; NaN or infinite where there is no telling."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shift: NDArray[np.float64] = affine.offset.astype(np.float64) / affine.scale
    return shift


def _where(few: NDArray[np.uint8]) -> NDArray[np.intp]:
    """Where it is not 0, which is seldom: eight are looked at in one."""
    if few.size % _EIGHT:
        return np.flatnonzero(few)
    eights = np.flatnonzero(few.view(np.uint64) != 0)
    which, inside = np.nonzero(few.reshape(-1, _EIGHT)[eights])
    return eights[which] * _EIGHT + inside


def _beyond(values: NDArray[Any]) -> NDArray[Any]:
    """How far values, 128 added, are beyond int8: above 0 for those that are too great."""
    beyond: NDArray[Any] = values - np.clip(values, 0, _GREATEST)
    return beyond


def _per_row(rows: NDArray[np.intp], numbers: NDArray[Any], count: int) -> NDArray[np.float64]:
    """Sums over each row."""
    return np.bincount(rows, weights=numbers, minlength=count).astype(np.float64)
