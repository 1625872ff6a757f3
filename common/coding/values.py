"""Values of a known width, uint8 each: packed bits as they are, or as one zstd frame, whichever is smallest.

Which form serves depends on the values: at 4 bits two codes make a byte whose entropy zstd meets within half
a percent; at 5 to 8 bits one code a byte is what it meets, or better the four highest bits alone; the low
bits of codes are noise, and stay as they are. So every form is tried that may serve.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.coding.bits import decode_bits, encode_bits
from common.coding.frames import compress_values, decompress
from common.errors import IntegrityError
from common.packing import pack, packed_size_bytes, unpack

# Widths that straddle bytes, which hides frequencies from a byte-wise coder, and the next that do not.
_WIDER_BITS: Final = {3: 4, 5: 8, 6: 8, 7: 8}
_HIGH_BITS: Final = 4  # beyond them bits of codes are noise, which a Huffman code only makes longer


class Form(IntEnum):
    """How values stand in a blob."""

    PACKED = 0  # bits without gaps
    PACKED_ZSTD = 1  # the same, as one frame
    WIDER_ZSTD = 2  # in the next wider bits that divide a byte, as one frame
    CARRIED = 3  # low bits without gaps, then the bits above them given the low ones
    SPLIT_ZSTD = 4  # bits below the four highest without gaps, then those four, packed, as one frame


def encode_values(values: NDArray[np.uint8], bits: int, carry_bits: int = 0) -> tuple[Form, bytes]:
    """The smallest form of some values.

    Args:
        values: uint8 [count], values in [0, 2**bits - 1].
        bits: Width of a value, 1..8.
        carry_bits: How many of them, the highest, depend on the others.
    """
    packed = pack(values, bits).tobytes()
    forms = {Form.PACKED: packed, Form.PACKED_ZSTD: compress_values(packed)}
    if bits in _WIDER_BITS:
        forms[Form.WIDER_ZSTD] = compress_values(pack(values, _WIDER_BITS[bits]).tobytes())
    if bits > _HIGH_BITS:
        forms[Form.SPLIT_ZSTD] = _encode_split(values, bits)
    if carry_bits:
        forms[Form.CARRIED] = _encode_carried(values, bits, carry_bits)
    form = min(forms, key=lambda form: (len(forms[form]), form))
    return form, forms[form]


def decode_values(
    form: int, data: bytes | memoryview, bits: int, count: int, carry_bits: int = 0
) -> NDArray[np.uint8]:
    """The values: uint8 [count], an array of its own.

    Raises:
        IntegrityError: The data are not so many values of that width in that form.
    """
    if form == Form.PACKED:
        return unpack(np.frombuffer(data, np.uint8), bits, count)
    if form == Form.PACKED_ZSTD:
        packed = decompress(data, packed_size_bytes(count, bits))
        return unpack(np.frombuffer(packed, np.uint8), bits, count)
    if form == Form.WIDER_ZSTD and bits in _WIDER_BITS:
        wider = _WIDER_BITS[bits]
        raw = decompress(data, packed_size_bytes(count, wider))
        values = unpack(np.frombuffer(raw, np.uint8), wider, count)
        if values.size and int(values.max()) >> bits:
            raise IntegrityError(f"A value does not fit {bits} bits.")
        return values
    if form == Form.SPLIT_ZSTD and bits > _HIGH_BITS:
        return _decode_split(data, bits, count)
    if form == Form.CARRIED and carry_bits:
        return _decode_carried(data, bits, count, carry_bits)
    raise IntegrityError(f"Values have the unknown form {form}.")


def _encode_split(values: NDArray[np.uint8], bits: int) -> bytes:
    low_bits = bits - _HIGH_BITS
    low = pack(np.bitwise_and(values, np.uint8((1 << low_bits) - 1)), low_bits)
    high = pack(np.right_shift(values, np.uint8(low_bits)), _HIGH_BITS)
    return low.tobytes() + compress_values(high.tobytes())


def _decode_split(data: bytes | memoryview, bits: int, count: int) -> NDArray[np.uint8]:
    low_bits = bits - _HIGH_BITS
    view = memoryview(data)
    at = packed_size_bytes(count, low_bits)
    low = unpack(np.frombuffer(view[:at], np.uint8), low_bits, count)
    raw = decompress(view[at:], packed_size_bytes(count, _HIGH_BITS))
    values = unpack(np.frombuffer(raw, np.uint8), _HIGH_BITS, count)
    np.left_shift(values, np.uint8(low_bits), out=values)
    values |= low
    return values


def _encode_carried(values: NDArray[np.uint8], bits: int, carry_bits: int) -> bytes:
    low_bits = bits - carry_bits
    low = np.bitwise_and(values, np.uint8((1 << low_bits) - 1))
    chunks = [pack(low, low_bits).tobytes()]
    for position in range(carry_bits):  # each bit given the low ones and those before it
        plane = np.right_shift(values, np.uint8(low_bits + position)) & np.uint8(1)
        known = np.bitwise_and(values, np.uint8((1 << (low_bits + position)) - 1))
        chunks.append(encode_bits(plane, known, 1 << (low_bits + position)))
    return b"".join(chunks)


def _decode_carried(data: bytes | memoryview, bits: int, count: int, carry_bits: int) -> NDArray[np.uint8]:
    low_bits = bits - carry_bits
    view = memoryview(data)
    at = packed_size_bytes(count, low_bits)
    values = unpack(np.frombuffer(view[:at], np.uint8), low_bits, count)
    for position in range(carry_bits):
        plane, used = decode_bits(view[at:], values, 1 << (low_bits + position))
        np.left_shift(plane, np.uint8(low_bits + position), out=plane)
        values |= plane
        at += used
    if at != len(view):
        raise IntegrityError("Values are followed by bytes that belong to nothing.")
    return values
