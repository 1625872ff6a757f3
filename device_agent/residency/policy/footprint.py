"""What a block takes in memory at each level. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from common.block_codec import ROW_BYTES, shape_of
from common.manifest import Block, Manifest
from device_agent.residency.bit_planes import planes_size_bytes

GRID_BYTES_PER_ROW: Final = 5  # a float32 scale and an int8 zero point


def block_bytes(block: Block, levels: Sequence[int], level: int) -> int:
    """Memory that a block takes at a level, at most.

    Codes at ``level`` bits; the carries, scales, offsets and floats of every level up to it, so that a step
    down needs no disk.

    Args:
        block: Any block of the version.
        levels: All levels of the version.
        level: One of them; a block whose base is above it takes what its base does, and one without
            quantized tensors the same at each.
    """
    if not block.tensors:
        return block.blobs[0].raw_size_bytes
    shards = block.levels(levels).index(block.nearest(levels, level))
    carry_bits = [step.carry_bits for step in block.steps(levels)[:shards]]
    widths = [block.nearest(levels, level), *carry_bits]
    codes = sum(planes_size_bytes(part.weights, width) for part in block.tensors for width in widths)
    return codes + _row_bytes(block, shards + 1) + _float_bytes(block, levels, shards)


def total_bytes(manifest: Manifest, chosen: Sequence[int]) -> int:
    """Memory that a version takes, at most, with each block at its chosen level."""
    return sum(
        block_bytes(block, manifest.levels, level)
        for block, level in zip(manifest.blocks, chosen, strict=True)
    )


def full_bytes(manifest: Manifest) -> int:
    """Memory that a version takes, at most, with every block at its highest level."""
    return total_bytes(manifest, manifest.nearest(manifest.levels[-1]))


def _row_bytes(block: Block, count: int) -> int:
    """Scales and offsets of so many levels, and the grid."""
    return (ROW_BYTES * count + GRID_BYTES_PER_ROW) * sum(part.rows for part in block.tensors)


def _float_bytes(block: Block, levels: Sequence[int], shards: int) -> int:
    """What base and shards hold beside codes, scales and offsets: floats and their containers' headers."""
    return sum(
        max(0, block.blobs[index].raw_size_bytes - shape_of(block, levels, index).codes_and_rows_bytes)
        for index in range(shards + 1)
    )
