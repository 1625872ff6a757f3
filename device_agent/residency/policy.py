"""Residency policy: which block runs at which level within a memory budget. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

from common.manifest import Block, Manifest
from common.packing import packed_size_bytes
from device_agent.residency.bit_planes import planes_size_bytes

AFFINE_BYTES_PER_ROW: Final = 8  # scale and offset, float32 each
_PACKED_UP_TO_BITS: Final = 4  # common.blob_codec: a base above that holds one code per byte


def block_bytes(block: Block, levels: Sequence[int], level: int) -> int:
    """Memory that a block takes at a level, at most.

    Codes at ``level`` bits; the carries, scales and offsets of every level up to it, so that a step down
    needs no disk; and the floats.

    Args:
        block: Any block of the version.
        levels: All levels of the version.
        level: One of them; a block without quantized tensors takes the same at each.
    """
    if not block.tensors:
        return block.blobs[0].raw_size_bytes
    rows = sum(part.rows for part in block.tensors)
    steps = block.steps(levels)[: levels.index(level)]
    widths = [level, *(step.carry_bits for step in steps)]
    codes = sum(planes_size_bytes(part.weights, width) for part in block.tensors for width in widths)
    affines = AFFINE_BYTES_PER_ROW * rows * (levels.index(level) + 1)
    return codes + affines + _float_bytes(block, levels[0])


def total_bytes(manifest: Manifest, chosen: Sequence[int]) -> int:
    """Memory that a version takes, at most, with each block at its chosen level."""
    return sum(
        block_bytes(block, manifest.levels, level)
        for block, level in zip(manifest.blocks, chosen, strict=True)
    )


def target_levels(manifest: Manifest, *, budget_bytes: int, max_level: int = 0) -> tuple[int, ...]:
    """The level of each block that a budget allows.

    All blocks are lifted to the next level, front to back, before any goes further; the first that does not
    fit ends the walk, so that more budget never lowers a block. A block without quantized tensors has only
    the base.

    Args:
        manifest: The version.
        budget_bytes: Memory for weights; the base is taken even where it alone exceeds this.
        max_level: Highest level wanted; 0 for no limit.
    """
    levels = manifest.levels
    chosen = [levels[0]] * len(manifest.blocks)
    left_bytes = budget_bytes - total_bytes(manifest, chosen)
    for low, high in pairwise(levels):
        if max_level and high > max_level:
            break
        for index, block in enumerate(manifest.blocks):
            if not block.tensors:
                continue
            step_bytes = block_bytes(block, levels, high) - block_bytes(block, levels, low)
            if step_bytes > left_bytes:
                return tuple(chosen)
            chosen[index] = high
            left_bytes -= step_bytes
    return tuple(chosen)


def lowest_level(manifest: Manifest, chosen: Sequence[int]) -> int:
    """The level that answers deserve to be called: the lowest of any block with quantized tensors.

    A version without any runs in full at every time.
    """
    quantized = [level for block, level in zip(manifest.blocks, chosen, strict=True) if block.tensors]
    return min(quantized, default=manifest.levels[-1])


def _float_bytes(block: Block, base_level: int) -> int:
    """What a base blob holds beside codes, scales and offsets: the floats and the container's header."""
    stored_bits = base_level if base_level <= _PACKED_UP_TO_BITS else 8
    rows = sum(part.rows for part in block.tensors)
    codes = sum(packed_size_bytes(part.weights, stored_bits) for part in block.tensors)
    return max(0, block.blobs[0].raw_size_bytes - codes - AFFINE_BYTES_PER_ROW * rows)
