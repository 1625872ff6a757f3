"""Codes in memory at exactly their level: planes of 8, 4, 2 and 1 bits instead of one odd width.

A 6-bit code is a 4-bit plane above a 2-bit plane: the size is the same, and widths that divide a byte come
apart with one shift and one mask, which makes unpacking before a layer affordable. A plane is cut into
runs, not interleaved: of ``8 / width`` equal runs of the values, byte ``i`` holds the ``i``-th value of each,
the first run in its lowest bits. So every run is read and written in one sweep, from any place on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from device_agent.residency.room import lasting_bytes

BYTE_BITS: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class PackedCodes:
    """The codes of a tensor's rows at one level.

    Attributes:
        level: Bits per code.
        count: Codes in all.
        planes: uint8, one per width of ``plane_widths(level)``, highest bits first. The planes hold
            ``codes + 2**(level-1)``, which lies in [0, 2**level - 1].
    """

    level: int
    count: int
    planes: tuple[NDArray[np.uint8], ...]

    @property
    def size_bytes(self) -> int:
        """Memory that the planes take."""
        return sum(plane.nbytes for plane in self.planes)

    def unsigned(self) -> NDArray[np.uint8]:
        """See ``Codes``."""
        return unpack_codes(self)

    def read_into(self, start: int, out: NDArray[np.uint8]) -> None:
        """``out`` has the values from ``start`` on, one per byte, as many as it takes."""
        widths = plane_widths(self.level)
        _spread(self.planes[0], widths[0], start, out)
        if len(widths) == 1:
            return
        lower = np.empty_like(out)
        for plane, width in zip(self.planes[1:], widths[1:], strict=True):
            _spread(plane, width, start, lower)
            shift_up(out, width)
            np.bitwise_or(out, lower, out=out)


class PlaneWriter:
    """Packs codes that come in order, some at a time.

    Args:
        level: Bits per code, 1..8.
        count: Codes in all.
        high: The first planes, where they are there already.
    """

    def __init__(self, level: int, count: int, high: Sequence[NDArray[np.uint8]] = ()) -> None:
        self._widths = plane_widths(level)[len(high) :]
        sizes = (-(-count * width // BYTE_BITS) for width in self._widths)
        self._planes = [lasting_bytes(size) for size in sizes]
        self._codes = PackedCodes(level, count, (*high, *self._planes))

    def write(self, start: int, unsigned: NDArray[np.uint8]) -> None:
        """The codes from ``start`` on, right behind the last ones.

        Args:
            start: Index of the first.
            unsigned: uint8, values in [0, 2**level - 1]. Stays as it is.
        """
        below_bits = sum(self._widths)
        values = np.empty_like(unsigned)
        for plane, width in zip(self._planes, self._widths, strict=True):
            below_bits -= width
            np.right_shift(unsigned, below_bits, out=values)
            np.bitwise_and(values, (1 << width) - 1, out=values)
            for run, place, piece in _pieces(plane, start, values):
                if run == 0:
                    plane[place] = piece
                else:
                    shift_up(piece, run * width)
                    np.bitwise_or(plane[place], piece, out=plane[place])

    def codes(self) -> PackedCodes:
        """What was written, once all is."""
        return self._codes


def shared_planes(low: int, high: int) -> int:
    """How many planes, from the first, are the same for codes and for their high bits.

    Returns:
        All of those of ``low`` bits, or none.
    """
    count = len(plane_widths(low))
    return count if plane_widths(high)[:count] == plane_widths(low) else 0


def shift_up(values: NDArray[np.uint8], bits: int) -> None:
    """The values move up, in place: by a product, since numpy shifts bytes to the left one by one."""
    np.multiply(values, 1 << bits, out=values)


def plane_widths(level: int) -> tuple[int, ...]:
    """Widths in bits that add up to a level, widest first; each divides a byte."""
    return tuple(width for width in (8, 4, 2, 1) if level & width)


def planes_size_bytes(count: int, level: int) -> int:
    """Memory that ``count`` codes take at a level; each plane is rounded up to whole bytes."""
    return sum(-(-count * width // BYTE_BITS) for width in plane_widths(level))


def run_shifts(width_bits: int) -> NDArray[np.uint8]:
    """How far up each run of a plane stands in its byte: uint8 [runs, 1]."""
    return np.arange(0, BYTE_BITS, width_bits, dtype=np.uint8).reshape(-1, 1)


def pack_codes(unsigned: NDArray[np.uint8], level: int) -> PackedCodes:
    """Codes without a bit between them.

    Args:
        unsigned: uint8 [count], ``codes + 2**(level-1)``, values in [0, 2**level - 1]. Stays as it is.
        level: Bits per code, 1..8.
    """
    writer = PlaneWriter(level, unsigned.size)
    writer.write(0, unsigned)
    return writer.codes()


def unpack_codes(packed: PackedCodes) -> NDArray[np.uint8]:
    """The inverse of ``pack_codes``: uint8 [count], an array of its own."""
    unsigned = np.empty(packed.count, np.uint8)
    packed.read_into(0, unsigned)
    return unsigned


def _spread(plane: NDArray[np.uint8], width_bits: int, start: int, out: NDArray[np.uint8]) -> None:
    """Some values of one plane, one per byte."""
    for run, place, piece in _pieces(plane, start, out):
        if width_bits == BYTE_BITS:
            piece[:] = plane[place]
        else:
            np.right_shift(plane[place], run * width_bits, out=piece)
            np.bitwise_and(piece, (1 << width_bits) - 1, out=piece)


def _pieces(
    plane: NDArray[np.uint8], start: int, values: NDArray[np.uint8]
) -> Iterator[tuple[int, slice, NDArray[np.uint8]]]:
    """Values from an index on, cut where a run ends: the run, where it is in the plane, and the piece."""
    at = 0
    while at < values.size:
        run, offset = divmod(start + at, plane.size)
        size = min(plane.size - offset, values.size - at)
        yield run, slice(offset, offset + size), values[at : at + size]
        at += size
