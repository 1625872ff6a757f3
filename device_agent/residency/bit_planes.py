"""Codes in memory at exactly their level: planes of 8, 4, 2 and 1 bits instead of one odd width.

A 6-bit code is a 4-bit plane above a 2-bit plane: the size is the same, and widths that divide a byte come
apart with one shift and one mask, which makes unpacking before every layer affordable. A plane is cut into
runs, not interleaved: of ``8 / width`` equal runs of the values, byte ``i`` holds the ``i``-th value of each,
the first run in its lowest bits. So every run is written in one sweep.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BYTE_BITS: Final = 8


@dataclass(frozen=True, slots=True)
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
    planes = []
    below_bits = level
    for width in plane_widths(level):
        below_bits -= width
        values = np.right_shift(unsigned, np.uint8(below_bits))
        planes.append(_gather(np.bitwise_and(values, np.uint8((1 << width) - 1), out=values), width))
    return PackedCodes(level, unsigned.size, tuple(planes))


def unpack_codes(packed: PackedCodes) -> NDArray[np.uint8]:
    """The inverse of ``pack_codes``: uint8 [count], an array of its own."""
    widths = plane_widths(packed.level)
    unsigned = _spread(packed.planes[0], widths[0], packed.count)
    for plane, width in zip(packed.planes[1:], widths[1:], strict=True):
        np.left_shift(unsigned, np.uint8(width), out=unsigned)
        np.bitwise_or(unsigned, _spread(plane, width, packed.count), out=unsigned)
    return unsigned


def _gather(values: NDArray[np.uint8], width_bits: int) -> NDArray[np.uint8]:
    """One value per byte to one plane."""
    shifts = run_shifts(width_bits)
    runs = np.zeros((len(shifts), -(-values.size // len(shifts))), np.uint8)
    runs.reshape(-1)[: values.size] = values
    np.left_shift(runs, shifts, out=runs)
    plane: NDArray[np.uint8] = np.bitwise_or.reduce(runs, axis=0)
    return plane


def _spread(plane: NDArray[np.uint8], width_bits: int, count: int) -> NDArray[np.uint8]:
    """The values of one plane, one per byte."""
    runs = np.right_shift(plane, run_shifts(width_bits))
    np.bitwise_and(runs, np.uint8((1 << width_bits) - 1), out=runs)
    return runs.reshape(-1)[:count]
