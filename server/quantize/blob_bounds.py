"""How large a blob can become, known before its values are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from common.manifest import TensorPart
from common.packing import packed_size_bytes

_ROW_BYTES: Final = 10  # a verbatim scale, zero point, slope and shift
_ENTRY_BYTES: Final = 256  # of a container's header, for one array beside its name


def part_bytes(part: TensorPart, blob_bits: Sequence[int]) -> tuple[int, ...]:
    """The most that rows of a quantized tensor add to each blob of their block, the base first.

    Args:
        part: The rows.
        blob_bits: The width of a weight in each blob: the base's level, then the shards.
    """
    beside = part.rows * _ROW_BYTES + _ENTRY_BYTES
    return tuple(packed_size_bytes(part.weights, bits) + beside for bits in blob_bits)


def float_bytes(name: str, size_bytes: int) -> int:
    """The most that a tensor which stays float adds to each blob that holds it.

    That is the base of its block alone, or all blobs where it is another at each level.
    """
    return size_bytes + _ENTRY_BYTES + len(json.dumps(name))
