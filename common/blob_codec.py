"""Blobs: how arrays or bytes become immutable wire bytes, and come back within stated bounds.

Container of arrays: safetensors, stored raw, or as one zstd frame where that is smaller. A block's blobs have
a form of their own: ``common.block_codec``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
import zstandard
from numpy.typing import NDArray

from common.coding.frames import ZSTD_LEVEL, decompress
from common.digest import sha256_hex
from common.errors import IntegrityError
from common.manifest import BlobRef

__all__ = ["ZSTD_LEVEL", "decode_arrays", "decode_bytes", "decompress", "encode_arrays", "encode_bytes"]


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
    verify_bytes(data, ref)
    return decompress(data, ref.raw_size_bytes) if ref.coding == "zstd" else data


def verify_bytes(data: bytes | memoryview, ref: BlobRef) -> None:
    """Accept the wire bytes that a reference names.

    Raises:
        IntegrityError: Length or digest differ from what ``ref`` states.
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
