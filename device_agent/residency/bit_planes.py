"""Codes in memory at exactly their level: planes of 8, 4, 2 and 1 bits instead of one odd width.

A 6-bit code is a 4-bit plane above a 2-bit plane. Widths that divide a byte come apart with a few shifts on
whole machine words, which is what makes unpacking before every layer affordable; the size is the same.
Within a plane, value 0 fills the lowest bits of byte 0, as in ``common.packing``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

BYTE_BITS: Final = 8


@dataclass(frozen=True, slots=True)
class Spread:
    """How the values of one byte move into bytes of their own, all bytes of a word at a time.

    Attributes:
        per_byte: Values in a packed byte; a word has as many bytes.
        steps: Shift and mask, in order: ``word = (word | word << shift) & mask``.
    """

    per_byte: int
    steps: tuple[tuple[int, int], ...]


SPREADS: Final = {
    4: Spread(2, ((4, 0x0F0F),)),
    2: Spread(4, ((12, 0x000F000F), (6, 0x03030303))),
    1: Spread(8, ((28, 0x0000000F0000000F), (14, 0x0003000300030003), (7, 0x0101010101010101))),
}
_WORDS: Final[dict[int, np.dtype[np.unsignedinteger[Any]]]] = {
    2: np.dtype("<u2"),
    4: np.dtype("<u4"),
    8: np.dtype("<u8"),
}


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


def plane_widths(level: int) -> tuple[int, ...]:
    """Widths in bits that add up to a level, widest first; each divides a byte."""
    return tuple(width for width in (8, 4, 2, 1) if level & width)


def planes_size_bytes(count: int, level: int) -> int:
    """Memory that ``count`` codes take at a level; each plane is rounded up to whole bytes."""
    return sum(-(-count * width // BYTE_BITS) for width in plane_widths(level))


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
    unsigned = spread_plane(packed.planes[0], widths[0], packed.count)
    for plane, width in zip(packed.planes[1:], widths[1:], strict=True):
        np.left_shift(unsigned, np.uint8(width), out=unsigned)
        np.bitwise_or(unsigned, spread_plane(plane, width, packed.count), out=unsigned)
    return unsigned


def spread_plane(plane: NDArray[np.uint8], width_bits: int, count: int) -> NDArray[np.uint8]:
    """The values of one plane, one per byte: uint8 [count], an array of its own."""
    if width_bits == BYTE_BITS:
        return plane.copy()
    spread = SPREADS[width_bits]
    words = plane.astype(_WORDS[spread.per_byte])
    for shift, mask in spread.steps:
        words |= words << shift
        words &= mask
    return words.view(np.uint8)[:count]


def _gather(values: NDArray[np.uint8], width_bits: int) -> NDArray[np.uint8]:
    """One value per byte to one plane: ``spread_plane`` backwards."""
    if width_bits == BYTE_BITS:
        return values
    spread = SPREADS[width_bits]
    padded = np.zeros(-(-values.size // spread.per_byte) * spread.per_byte, np.uint8)
    padded[: values.size] = values
    words = padded.view(_WORDS[spread.per_byte])
    masks = [0xFF, *(mask for _, mask in spread.steps[:-1])]
    for (shift, _), mask in zip(reversed(spread.steps), reversed(masks), strict=True):
        words |= words >> shift
        words &= mask
    return words.astype(np.uint8)
