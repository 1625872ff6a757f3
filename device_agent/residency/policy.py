"""Residency policy: which block runs at which level within a memory budget. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
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


def target_levels(manifest: Manifest, *, budget_bytes: int, max_level: int = 0) -> tuple[int, ...]:
    """The level of each block that a budget allows.

    All blocks are lifted to the next level, front to back, before any goes further; the first that does not
    fit ends the walk, so that more budget never lowers a block. A block whose base is above a level waits
    there for the others; one without quantized tensors has only the base.

    Args:
        manifest: The version.
        budget_bytes: Memory for weights; the base is taken even where it alone exceeds this.
        max_level: Highest level wanted, but for bases above it; 0 for no limit.
    """
    levels = manifest.levels
    chosen = list(manifest.base_levels())
    left_bytes = budget_bytes - total_bytes(manifest, chosen)
    for low, high in pairwise(levels):
        if max_level and high > max_level:
            break
        for index, block in enumerate(manifest.blocks):
            if high not in block.levels(levels)[1:]:
                continue
            step_bytes = block_bytes(block, levels, high) - block_bytes(block, levels, low)
            if step_bytes > left_bytes:
                return tuple(chosen)
            chosen[index] = high
            left_bytes -= step_bytes
    return tuple(chosen)


@dataclass(frozen=True, slots=True)
class Want:
    """A version that shall be in memory beside others.

    Attributes:
        manifest: The version.
        max_level: Highest level wanted, but for bases above it; 0 for no limit.
        demand: How much it is asked for, in any unit that is the same for all; at least 0.
    """

    manifest: Manifest
    max_level: int = 0
    demand: float = 1.0


def joint_targets(wants: Sequence[Want], budget_bytes: int) -> tuple[tuple[int, ...], ...]:
    """The level of each block of each version that a common budget allows.

    Every version has its base, even where the bases alone exceed the budget; what they leave lifts the
    versions one after the other.

    Args:
        wants: The versions, the most important first.
        budget_bytes: Memory for the weights of all of them.
    """
    bases = [total_bytes(want.manifest, want.manifest.base_levels()) for want in wants]
    left_bytes = budget_bytes - sum(bases)
    targets = []
    for want, base_bytes in zip(wants, bases, strict=True):
        own_bytes = base_bytes + max(left_bytes, 0)
        levels = target_levels(want.manifest, budget_bytes=own_bytes, max_level=want.max_level)
        left_bytes -= total_bytes(want.manifest, levels) - base_bytes
        targets.append(levels)
    return tuple(targets)


def lowest_level(manifest: Manifest, chosen: Sequence[int]) -> int:
    """The level that answers deserve to be called: the lowest of any block with quantized tensors.

    A version without any runs in full at every time.
    """
    quantized = [level for block, level in zip(manifest.blocks, chosen, strict=True) if block.tensors]
    return min(quantized, default=manifest.levels[-1])


def _row_bytes(block: Block, count: int) -> int:
    """Scales and offsets of so many levels, and the grid."""
    return (ROW_BYTES * count + GRID_BYTES_PER_ROW) * sum(part.rows for part in block.tensors)


def _float_bytes(block: Block, levels: Sequence[int], shards: int) -> int:
    """What base and shards hold beside codes, scales and offsets: floats and their containers' headers."""
    return sum(
        max(0, block.blobs[index].raw_size_bytes - shape_of(block, levels, index).codes_and_rows_bytes)
        for index in range(shards + 1)
    )
