"""A blob as its difference from the same blob of another version, given what the device holds of both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from common.block_codec import CODING, Content, decode, encode, shape_of
from common.digest import sha256_hex
from common.errors import IntegrityError
from common.manifest import BlobRef, Block


def comparable(held: Block, wanted: Block, held_levels: Sequence[int], wanted_levels: Sequence[int]) -> bool:
    """Whether blobs of one block can stand as deltas against those of the other: equal shapes throughout."""
    count = len(wanted.blobs)
    return len(held.blobs) == count and all(
        shape_of(held, held_levels, index) == shape_of(wanted, wanted_levels, index) for index in range(count)
    )


def encode_delta(
    held: Sequence[Content], wanted: Sequence[Content], block: Block, levels: Sequence[int], index: int
) -> bytes:
    """The delta of the blob at an index.

    Args:
        held, wanted: Contents of the blobs up to the index, of both versions.
        block: The wanted one.
        levels: Of the wanted version.
        index: Which blob of the block.
    """
    shape = shape_of(block, levels, index)
    values = tuple(
        (new - old) & np.uint8((1 << shape.bits) - 1)
        for new, old in zip(wanted[index].values, held[index].values, strict=True)
    )
    return encode(replace(wanted[index], values=values), shape)[0]


def decode_delta(
    data: bytes,
    held: Sequence[Content],
    known: Sequence[Content],
    block: Block,
    levels: Sequence[int],
    index: int,
) -> Content:
    """The content of the wanted blob.

    Args:
        data: What ``encode_delta`` gave.
        held: Contents of the held version's blobs up to the index.
        known: Contents of the wanted version's blobs below the index.
        block: The wanted one.
        levels: Of the wanted version.
        index: Which blob of the block.

    Raises:
        IntegrityError: The data are no delta of this blob.
    """
    if len(held) != index + 1 or len(known) != index:
        raise IntegrityError("A delta needs the blobs below it.")
    shape = shape_of(block, levels, index)
    ref = BlobRef(sha256_hex(data), len(data), block.blobs[index].raw_size_bytes, CODING)
    content = decode(data, ref, shape)
    values = tuple(
        (new + old) & np.uint8((1 << shape.bits) - 1)
        for new, old in zip(content.values, held[index].values, strict=True)
    )
    return replace(content, values=values)
