"""Bits whose odds depend on something that both ends know: their context.

Contexts are put into a few classes by how sure each is of its bit, so that bits of like odds stand together
and a byte-wise entropy coder gets near the conditional entropy without arithmetic coding, at the speed of
numpy. A class is the bits of its contexts in their order, each xored with its context's likelier value:
eight in a byte, as they are or as one zstd frame; or, where few are set, the gaps between those in a frame,
since no byte of a frame takes less than one bit.

Layout: four bits for each context that comes up (class below, likelier value above), then for each class but
the certain one that any context names, in ascending order: u32 length, u8 coding, the bytes. Gaps begin with
the u32 length of the frame's content, the u32 length of the frame, and the u8 number of low bits that stand
packed behind the frame since they are noise; what is left of a gap of 255 or more is 255 and the rest.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.coding.frames import compress_values, decompress
from common.errors import IntegrityError
from common.packing import pack, packed_size_bytes, unpack

_CERTAIN: Final = 0
# Share of unlikely bits up to which a context belongs to class 1, 2, ...; the last class takes the rest.
_CLASS_ODDS: Final = (0.003, 0.015, 0.05, 0.12, 0.25)
_CLASS_MASK: Final = 7
_LIKELY_SHIFT: Final = 3
_ENTRY_BITS: Final = 4
_HEAD: Final = struct.Struct("<IB")
_RAW: Final = 0
_ZSTD: Final = 1
_GAPS: Final = 2
_SPARSE: Final = 0.25
_GAPS_HEAD: Final = struct.Struct("<IIB")
_KEPT_BITS: Final = 5  # of a typical gap; the bits below them are noise
_MOST_LOW_BITS: Final = 8
_LONG: Final = 255


def encode_bits(bits: NDArray[np.uint8], contexts: NDArray[np.uint8], context_count: int) -> bytes:
    """Some bits, given their contexts.

    Args:
        bits: uint8 [count], values 0 and 1.
        contexts: uint8 [count], values below ``context_count``.
        context_count: 1..256.
    """
    totals = np.bincount(contexts, minlength=context_count)
    ones = np.bincount(contexts, weights=bits, minlength=context_count).astype(np.int64)
    likely = (2 * ones > totals).astype(np.uint8)
    unlikely = np.where(likely == 1, totals - ones, ones)
    classes = np.searchsorted(_CLASS_ODDS, unlikely / np.maximum(totals, 1)).astype(np.uint8) + np.uint8(1)
    classes[unlikely == 0] = _CERTAIN
    table = classes | (likely << np.uint8(_LIKELY_SHIFT))
    chunks = [pack(table[totals > 0], _ENTRY_BITS).tobytes()]
    flipped = np.bitwise_xor(bits, likely[contexts])
    of_bit = classes[contexts]
    for number in _named(classes):
        coding, data = _smallest(flipped[of_bit == number])
        chunks += [_HEAD.pack(len(data), coding), data]
    return b"".join(chunks)


def decode_bits(
    data: bytes | memoryview, contexts: NDArray[np.uint8], context_count: int
) -> tuple[NDArray[np.uint8], int]:
    """The bits, and how many bytes of ``data`` they took.

    Args:
        data: What ``encode_bits`` gave, and maybe more behind it.
        contexts: As they were then.
        context_count: As it was then.

    Raises:
        IntegrityError: The data are none for these contexts.
    """
    view = memoryview(data)
    used = np.bincount(contexts, minlength=context_count) > 0
    entries = int(np.count_nonzero(used))
    at = packed_size_bytes(entries, _ENTRY_BITS)
    table = np.zeros(context_count, np.uint8)
    table[used] = unpack(np.frombuffer(view[:at], np.uint8), _ENTRY_BITS, entries)
    classes = np.bitwise_and(table, np.uint8(_CLASS_MASK))
    bits = np.right_shift(table, np.uint8(_LIKELY_SHIFT))[contexts]
    of_bit = classes[contexts]
    for number in _named(classes):
        where = np.flatnonzero(of_bit == number)
        flipped, at = _class_bits(view, at, where.size)
        bits[where] ^= flipped
    return bits, at


def _class_bits(view: memoryview, at: int, count: int) -> tuple[NDArray[np.uint8], int]:
    if at + _HEAD.size > len(view):
        raise IntegrityError("A class of bits is missing.")
    size_bytes, coding = _HEAD.unpack_from(view, at)
    at += _HEAD.size
    data, raw_bytes = view[at : at + size_bytes], -(-count // 8)
    if coding == _GAPS:
        return _from_gaps(data, count), at + size_bytes
    if coding == _ZSTD:
        raw: bytes | memoryview = decompress(data, raw_bytes)
    elif coding == _RAW and len(data) == raw_bytes:
        raw = data
    else:
        raise IntegrityError("A class of bits has another length than its contexts say.")
    return np.unpackbits(np.frombuffer(raw, np.uint8), count=count), at + size_bytes


def _smallest(bits: NDArray[np.uint8]) -> tuple[int, bytes]:
    raw = np.packbits(bits).tobytes()
    forms = {_RAW: raw, _ZSTD: compress_values(raw)}
    where = np.flatnonzero(bits)
    if where.size < _SPARSE * bits.size:
        forms[_GAPS] = _to_gaps(where, bits.size)
    coding = min(forms, key=lambda form: (len(forms[form]), form))
    return coding, forms[coding]


def _to_gaps(where: NDArray[np.intp], count: int) -> bytes:
    """Positions, ascending, as the zeros before each."""
    gaps = np.diff(where, prepend=-1) - 1
    low_bits = min(max((count // max(where.size, 1)).bit_length() - _KEPT_BITS, 0), _MOST_LOW_BITS)
    low = (gaps & ((1 << low_bits) - 1)).astype(np.uint8)
    high = gaps >> low_bits
    longs = high // _LONG
    steps = np.full(where.size + int(longs.sum()), _LONG, np.uint8)
    steps[np.cumsum(longs + 1) - 1] = high % _LONG
    frame = compress_values(steps.tobytes())
    lows = pack(low, low_bits).tobytes() if low_bits else b""
    return _GAPS_HEAD.pack(steps.size, len(frame), low_bits) + frame + lows


def _from_gaps(data: memoryview, count: int) -> NDArray[np.uint8]:
    bits = np.zeros(count, np.uint8)
    if len(data) < _GAPS_HEAD.size:
        raise IntegrityError("Gaps between bits are cut short.")
    size_bytes, frame_bytes, low_bits = _GAPS_HEAD.unpack_from(data)
    if size_bytes > count or low_bits > _MOST_LOW_BITS:
        raise IntegrityError("There are more gaps than bits.")
    behind = _GAPS_HEAD.size + frame_bytes
    steps = np.frombuffer(decompress(data[_GAPS_HEAD.size : behind], size_bytes), np.uint8)
    ends = steps != _LONG
    high = np.diff(np.cumsum(steps, dtype=np.int64)[ends], prepend=0)
    gaps = high << low_bits
    if low_bits:
        gaps += unpack(np.frombuffer(data[behind:], np.uint8), low_bits, gaps.size)
    where = np.cumsum(gaps + 1) - 1
    if where.size and int(where[-1]) >= count:
        raise IntegrityError("A gap leads beyond the last bit.")
    bits[where] = 1
    return bits


def _named(classes: NDArray[np.uint8]) -> Iterator[int]:
    return (int(number) for number in np.unique(classes) if number != _CERTAIN)
