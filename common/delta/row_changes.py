"""Grids and fits as what changed about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.block_codec import Shape
from common.coding.row_sections import decode_numbers, decode_scales, encode_numbers, encode_scales
from common.errors import IntegrityError
from common.rows import Fit, Grid

Section = tuple[int, bytes]
Received = tuple[int, memoryview]

SAME: Final = 0
CHANGED: Final = 1  # and above it the form of scales or numbers as in a blob


def encode_grids(held: Sequence[Grid], wanted: Sequence[Grid]) -> Iterator[Section]:
    """Two sections: which scales changed, and those; how the zero points changed."""
    before, now = (np.concatenate([grid.scale for grid in grids]) for grids in (held, wanted))
    if np.array_equal(before, now):
        yield SAME, b""
    else:
        changed = before != now
        form, data = encode_scales(now[changed])
        yield CHANGED + form, np.packbits(changed).tobytes() + data
    yield _difference(*(np.concatenate([grid.zero for grid in grids]) for grids in (held, wanted)))


def decode_grids(sections: Iterator[Received], held: Sequence[Grid], shape: Shape) -> tuple[Grid, ...]:
    """The grids, one per part.

    Raises:
        IntegrityError: The sections are none for these grids.
    """
    form, data = next(sections)
    scale = np.concatenate([grid.scale for grid in held])
    if form != SAME:
        mask_bytes = -(-scale.size // 8)
        if len(data) < mask_bytes:
            raise IntegrityError("A delta of scales is cut short.")
        changed = np.unpackbits(np.frombuffer(data[:mask_bytes], np.uint8), count=scale.size).view(np.bool_)
        count = int(np.count_nonzero(changed))
        scale[changed] = decode_scales(form - CHANGED, data[mask_bytes:], count)
    zero = _numbers(next(sections), np.concatenate([grid.zero for grid in held]).astype(np.int16))
    if zero.size and (int(zero.min()) < -128 or int(zero.max()) > 127):  # noqa: PLR2004
        raise IntegrityError("A zero point is no code.")
    whole = Grid(scale, zero.astype(np.int8))
    return tuple(whole[rows] for rows in _rows(shape))


def encode_fits(held: Sequence[Fit], wanted: Sequence[Fit]) -> Iterator[Section]:
    """Two sections: how the slopes, and how the shifts changed."""
    yield _difference(*(np.concatenate([fit.slope for fit in fits]) for fits in (held, wanted)))
    yield _difference(*(np.concatenate([fit.shift for fit in fits]) for fits in (held, wanted)))


def decode_fits(sections: Iterator[Received], held: Sequence[Fit], shape: Shape) -> tuple[Fit, ...]:
    """The fits, one per part.

    Raises:
        IntegrityError: The sections are none for these fits.
    """
    slope = _numbers(next(sections), np.concatenate([fit.slope for fit in held]))
    shift = _numbers(next(sections), np.concatenate([fit.shift for fit in held]))
    whole = Fit(slope, shift)
    return tuple(whole[rows] for rows in _rows(shape))


def _difference(
    before: NDArray[np.int16] | NDArray[np.int8], now: NDArray[np.int16] | NDArray[np.int8]
) -> Section:
    if np.array_equal(before, now):
        return SAME, b""
    # Modulo 2**16, as it is added again.
    form, data = encode_numbers(now.astype(np.int16) - before.astype(np.int16))
    return CHANGED + form, data


def _numbers(section: Received, before: NDArray[np.int16]) -> NDArray[np.int16]:
    form, data = section
    if form == SAME:
        return before
    return before + decode_numbers(form - CHANGED, data, before.size)


def _rows(shape: Shape) -> Iterator[slice]:
    bounds = accumulate((part.rows for part in shape.parts), initial=0)
    return (slice(low, high) for low, high in pairwise(bounds))
