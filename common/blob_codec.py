"""Blobs: how a block's arrays become immutable bytes, and come back within stated bounds.

Container: safetensors. Keys of a block's blobs: ``codes/NAME`` (U8, flat), ``scale/NAME`` and ``offset/NAME``
(F32 [rows]) in every blob, ``weight = scale * codes + offset`` at that blob's level; ``float/NAME`` in the
base alone, or in every blob for a value that is another at each level, in one type and shape. NAME is the
parameter's name in the graph. Codes of a base at 4 bits or less and all shards are
packed (``common.packing``); at 5 bits and more a base holds one code per byte, since zstd gains more there.
Signed base codes are stored with 2**(level-1) added; shards as ``common.nesting`` makes them, in as many bits
as the block's entry in the manifest says.
The container is stored raw, or as one zstd frame where that is smaller.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import safetensors
import safetensors.numpy
import zstandard
from numpy.typing import NDArray

from common.digest import sha256_hex
from common.errors import IntegrityError
from common.manifest import BlobRef
from common.packing import pack, packed_size_bytes, unpack

ZSTD_LEVEL: Final = 3
_PACKED_UP_TO_BITS: Final = 4


def encode_arrays(arrays: Mapping[str, NDArray[Any]], *, compress: bool) -> tuple[bytes, BlobRef]:
    """The wire bytes of some named arrays, and the reference that names them.

    Args:
        arrays: Any safetensors dtype; the order does not matter.
        compress: Whether to try zstd; the smaller form is kept.
    """
    raw = safetensors.numpy.save({name: np.asarray(arrays[name], order="C") for name in sorted(arrays)})
    return encode_bytes(raw, compress=compress)


def encode_bytes(raw: bytes, *, compress: bool) -> tuple[bytes, BlobRef]:
    """The wire bytes of some bytes, compressed where that is smaller, and the reference that names them."""
    packed = zstandard.ZstdCompressor(level=ZSTD_LEVEL).compress(raw) if compress else raw
    coding = "zstd" if len(packed) < len(raw) else "raw"
    data = packed if coding == "zstd" else raw
    return data, BlobRef(sha256_hex(data), len(data), len(raw), coding)


def decode_bytes(data: bytes | memoryview, ref: BlobRef) -> bytes | memoryview:
    """The bytes that were encoded.

    Raises:
        IntegrityError: Length, digest or decoded length differ from what ``ref`` states.
    """
    if len(data) != ref.size_bytes:
        raise IntegrityError(
            f"Blob {ref.digest[:12]} has {len(data)} bytes, not {ref.size_bytes}.",
            expected=str(ref.size_bytes),
            actual=str(len(data)),
        )
    actual = sha256_hex(data)
    if actual != ref.digest:
        raise IntegrityError(
            f"Blob {ref.digest[:12]} has other content than its name says.",
            expected=ref.digest,
            actual=actual,
        )
    return data if ref.coding == "raw" else decompress(data, ref.raw_size_bytes)


def decompress(data: bytes | memoryview, raw_size_bytes: int) -> bytes:
    """The content of one zstd frame that yields exactly ``raw_size_bytes``.

    Raises:
        IntegrityError: It is no such frame, or would yield more or less.
    """
    try:
        reader = zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(data)
        raw = reader.read(raw_size_bytes + 1)
    except zstandard.ZstdError as error:
        raise IntegrityError(f"A compressed blob is damaged: {error}.") from error
    if len(raw) != raw_size_bytes:
        yielded = "more" if len(raw) > raw_size_bytes else "less"
        raise IntegrityError(f"A compressed blob yields {yielded} than its stated {raw_size_bytes} bytes.")
    return raw


def decode_arrays(data: bytes | memoryview, ref: BlobRef) -> dict[str, NDArray[Any]]:
    """The named arrays of a blob, verified against its reference.

    Raises:
        IntegrityError: The bytes are not what ``ref`` names, or are no safetensors container.
    """
    raw = decode_bytes(data, ref)
    try:
        arrays: dict[str, NDArray[Any]] = safetensors.numpy.load(bytes(raw))
    except (safetensors.SafetensorError, ValueError, KeyError) as error:
        raise IntegrityError(f"Blob {ref.digest[:12]} is no safetensors container: {error}.") from error
    return arrays


def base_size_bytes(count: int, level: int) -> int:
    """Stored length of ``count`` base codes before zstd."""
    return packed_size_bytes(count, level if level <= _PACKED_UP_TO_BITS else 8)


def pack_base(codes: NDArray[np.int8], level: int) -> NDArray[np.uint8]:
    """The stored form of base codes: uint8, flat, packed up to 4 bits, else one per byte."""
    unsigned = codes.view(np.uint8) + np.uint8(1 << (level - 1))  # modulo 256, and within it
    return pack(unsigned, level) if level <= _PACKED_UP_TO_BITS else unsigned.reshape(-1)


def unpack_base(stored: NDArray[np.uint8], level: int, count: int) -> NDArray[np.int8]:
    """Base codes from their stored form: int8 [count], values in [-2**(level-1), 2**(level-1) - 1].

    Raises:
        IntegrityError: The length does not fit, or a code does not fit its level.
    """
    unsigned = unpack(stored, level if level <= _PACKED_UP_TO_BITS else 8, count)
    if unsigned.size and int(unsigned.max()) >> level:
        raise IntegrityError(f"A code does not fit {level} bits.")
    return (unsigned.astype(np.int16) - (1 << (level - 1))).astype(np.int8)
