"""Grids and fits of all rows of a block as sections of a blob: planes of bytes of one kind each."""

from __future__ import annotations

from enum import IntEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.coding.frames import compress, decompress
from common.errors import IntegrityError

# A scale in two bytes: exponent and nine bits of mantissa of a float32 within 2**-63..2**63.
_KEPT_SHIFT: Final = 14
_LOWEST: Final = 64 << 9
_RAW_SCALE_BYTES: Final = 4


class Planes(IntEnum):
    """How whole numbers or scales stand in a section; each also as one zstd frame, with FRAME added."""

    ONE = 0  # a byte each
    TWO = 1  # the high bytes, then the low bytes
    FLOAT = 2  # float32 each
    FRAME = 4


def short_scale(scale: NDArray[np.float32]) -> NDArray[np.float32]:
    """The nearest scales that fit two bytes: float32 [rows], off by at most one part in 1024.

    Scales beyond 2**-63..2**63 stay as they are.
    """
    bits = scale.view(np.uint32).astype(np.int64)
    rounded = ((bits + (1 << (_KEPT_SHIFT - 1))) >> _KEPT_SHIFT) << _KEPT_SHIFT
    kept = (rounded >> _KEPT_SHIFT) - _LOWEST
    fits = (kept >= 0) & (kept < 1 << 16) & (scale > 0)
    return np.where(fits, rounded, bits).astype(np.uint32).view(np.float32)


def encode_scales(scale: NDArray[np.float32]) -> tuple[int, bytes]:
    """Scales, two bytes each where they are short, else four."""
    bits = scale.view(np.uint32).astype(np.int64)
    kept = (bits >> _KEPT_SHIFT) - _LOWEST
    if ((bits & ((1 << _KEPT_SHIFT) - 1)) == 0).all() and ((kept >= 0) & (kept < 1 << 16)).all():
        return _smallest(Planes.TWO, _two_planes(kept.astype(np.uint16)))
    return _smallest(Planes.FLOAT, scale.astype("<f4").tobytes())


def decode_scales(form: int, data: bytes | memoryview, rows: int) -> NDArray[np.float32]:
    """The scales: float32 [rows], finite and above 0.

    Raises:
        IntegrityError: The data are none.
    """
    kind, raw = _opened(form, data, {Planes.TWO: 2 * rows, Planes.FLOAT: _RAW_SCALE_BYTES * rows})
    if kind == Planes.TWO:
        bits = (_from_two_planes(raw, rows).astype(np.uint32) + np.uint32(_LOWEST)) << np.uint32(_KEPT_SHIFT)
        scale = bits.view(np.float32)
    else:
        scale = np.frombuffer(raw, "<f4").astype(np.float32)
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise IntegrityError("A scale is no finite number above 0.")
    return scale


def encode_numbers(numbers: NDArray[np.int16] | NDArray[np.int8]) -> tuple[int, bytes]:
    """Whole numbers, a byte each where all fit it, else two."""
    if not numbers.size or (int(numbers.min()) >= -128 and int(numbers.max()) < 128):  # noqa: PLR2004
        return _smallest(Planes.ONE, numbers.astype(np.int8).tobytes())
    return _smallest(Planes.TWO, _two_planes(numbers.astype(np.int16).view(np.uint16)))


def decode_numbers(form: int, data: bytes | memoryview, rows: int) -> NDArray[np.int16]:
    """The numbers: int16 [rows].

    Raises:
        IntegrityError: The data are none.
    """
    kind, raw = _opened(form, data, {Planes.ONE: rows, Planes.TWO: 2 * rows})
    if kind == Planes.ONE:
        return np.frombuffer(raw, np.int8).astype(np.int16)
    return _from_two_planes(raw, rows).view(np.int16)


def _smallest(kind: Planes, raw: bytes) -> tuple[int, bytes]:
    framed = compress(raw)
    return (kind + Planes.FRAME, framed) if len(framed) < len(raw) else (int(kind), raw)


def _opened(form: int, data: bytes | memoryview, sizes: dict[Planes, int]) -> tuple[int, bytes | memoryview]:
    kind = form & ~Planes.FRAME
    size_bytes = next((size for known, size in sizes.items() if known == kind), -1)
    if size_bytes >= 0 and form & Planes.FRAME:
        return kind, decompress(data, size_bytes)
    if size_bytes != len(data):
        raise IntegrityError("A section about rows has an unknown form or another length than its rows say.")
    return kind, data


def _two_planes(numbers: NDArray[np.uint16]) -> bytes:
    return (numbers >> np.uint16(8)).astype(np.uint8).tobytes() + numbers.astype(np.uint8).tobytes()


def _from_two_planes(raw: bytes | memoryview, count: int) -> NDArray[np.uint16]:
    planes = np.frombuffer(raw, np.uint8).reshape(2, count).astype(np.uint16)
    numbers: NDArray[np.uint16] = (planes[0] << np.uint16(8)) | planes[1]
    return numbers
