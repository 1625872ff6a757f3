"""Packing of k-bit values, eight into k bytes, without a bit between them.

Bit order is little-endian: value i fills bits ``i*k .. i*k+k-1`` of the byte string, lowest bit first.
The last byte is padded with zeros.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import IntegrityError, InvalidInputError

_GROUP: Final = 8  # values that fill a whole number of bytes at any width
# Widths that divide a byte: a word with a byte for each value in one, and the shifts and masks that move all
# values of the word to bytes of their own at once.
_SPREADS: Final[dict[int, tuple[np.dtype[np.unsignedinteger[Any]], tuple[tuple[int, int], ...]]]] = {
    4: (np.dtype("<u2"), ((4, 0x0F0F),)),
    2: (np.dtype("<u4"), ((12, 0x000F000F), (6, 0x03030303))),
    1: (np.dtype("<u8"), ((28, 0x0000000F0000000F), (14, 0x0003000300030003), (7, 0x0101010101010101))),
}

_OVERLAPPING_SHIFT: Final = 4  # less than the width of what is shifted
SPREAD_WIDTHS: Final = frozenset(_SPREADS)


def packed_size_bytes(count: int, bits: int) -> int:
    """Bytes that ``count`` values of ``bits`` bits take."""
    return (count * bits + 7) // 8


def pack(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Values without the gaps between them.

    Args:
        values: uint8, any shape, values in [0, 2**bits - 1]; read in C order.
        bits: Width of a value, 1..8.

    Returns:
        uint8 [packed_size_bytes(values.size, bits)].

    Raises:
        InvalidInputError: The width is impossible or a value does not fit it.
    """
    if not 1 <= bits <= 8:  # noqa: PLR2004
        raise InvalidInputError(f"{bits} bits cannot be packed; a value has 1 to 8.")
    flat = np.ascontiguousarray(values).reshape(-1)
    if flat.size and int(flat.max()) >> bits:
        raise InvalidInputError(f"A value does not fit {bits} bits.")
    if bits == 8:  # noqa: PLR2004
        return flat.copy()
    padded = np.zeros(-(-flat.size // _GROUP) * _GROUP, np.uint8)
    padded[: flat.size] = flat
    return _squeeze(padded, bits)[: packed_size_bytes(flat.size, bits)]


def unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    """The inverse of ``pack``.

    Args:
        packed: uint8 [packed_size_bytes(count, bits)].
        bits: Width of a value, 1..8.
        count: How many values.

    Returns:
        uint8 [count], values in [0, 2**bits - 1].

    Raises:
        IntegrityError: The length does not match the count.
    """
    check_packed(packed, bits, count)
    if bits == 8:  # noqa: PLR2004
        return packed.reshape(-1).copy()
    if bits in _SPREADS:
        return _spread(packed.reshape(-1), bits)[:count]
    groups = -(-count // _GROUP)
    padded = np.zeros(groups * bits, np.uint8)
    padded[: packed.size] = packed.reshape(-1)
    words = np.zeros((groups, 8), np.uint8)
    words[:, :bits] = padded.reshape(groups, bits)
    lanes = words.view("<u8").reshape(-1)
    values = np.empty((groups, _GROUP), np.uint8)
    mask64 = np.uint64((1 << bits) - 1)
    for index in range(_GROUP):
        values[:, index] = (lanes >> np.uint64(index * bits)) & mask64
    return values.reshape(-1)[:count]


def check_packed(packed: NDArray[np.uint8], bits: int, count: int) -> None:
    """Accept packed values of the length that they should have.

    Raises:
        IntegrityError: The length does not match the count.
    """
    if packed.size != packed_size_bytes(count, bits):
        raise IntegrityError(
            f"{count} values of {bits} bits take {packed_size_bytes(count, bits)} bytes, not {packed.size}."
        )


def spread_into(
    packed: NDArray[np.uint8], bits: int, out: NDArray[np.uint8], scratch: NDArray[np.uint8]
) -> None:
    """Unpack values of a width that divides a byte, padding included, into memory that is at hand.

    Args:
        packed: uint8 [bytes].
        bits: One of ``SPREAD_WIDTHS``.
        out: uint8 [bytes * 8 / bits]. Takes the values.
        scratch: As large.
    """
    word, steps = _SPREADS[bits]
    words, other = out.view(word), scratch.view(word)
    words[:] = packed
    for shift, mask in steps:
        if shift == _OVERLAPPING_SHIFT:
            np.left_shift(words, shift, out=other)
            np.bitwise_or(words, other, out=words)
        else:
            np.multiply(words, (1 << shift) + 1, out=words)  # nothing overlaps, so the sum is what or gives
        np.bitwise_and(words, mask, out=words)


def _spread(packed: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """One value per byte, of a width that divides a byte; padding included."""
    out = np.empty((2, packed.size * (8 // bits)), np.uint8)
    spread_into(packed, bits, out[0], out[1])
    spread: NDArray[np.uint8] = out[0]
    return spread


def _squeeze(values: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Whole groups without gaps: neighbours close up, then pairs, then fours. Uses the values up."""
    for width in (8, 16, 32):
        words = values.view(f"<u{width // 4}")
        lower = words & words.dtype.type((1 << width) - 1)
        words ^= lower
        words >>= words.dtype.type(width - width // 8 * bits)
        words |= lower
    words = values.view("<u8")
    if bits in _SPREADS:
        return words.astype(f"<u{bits}").view(np.uint8)
    return np.ascontiguousarray(words.view(np.uint8).reshape(-1, _GROUP)[:, :bits]).reshape(-1)
