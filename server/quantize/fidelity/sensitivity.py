"""What the shards of each block gain, from the errors that the block causes at each level."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from common.fidelity import BlockSensitivity, ShardGain
from common.manifest import Block
from server.quantize.fidelity.figures import significant


def block_sensitivities(
    blocks: Sequence[Block], levels: Sequence[int], errors: Mapping[tuple[int, int], float]
) -> tuple[BlockSensitivity, ...]:
    """One per block with quantized tensors.

    Args:
        blocks: All of the version.
        levels: Of the version.
        errors: Block index and level to the error that the block causes there; 0 at full-bit.
    """
    return tuple(
        BlockSensitivity(
            index,
            block.tensors[0].name,
            len(block.tensors),
            block.levels(levels)[0],
            tuple(_gains(index, block, block.levels(levels), errors)),
        )
        for index, block in enumerate(blocks)
        if block.tensors
    )


def _gains(
    index: int, block: Block, levels: Sequence[int], errors: Mapping[tuple[int, int], float]
) -> Iterator[ShardGain]:
    for low, high, ref in zip(levels, levels[1:], block.blobs[1:], strict=False):
        above = errors[index, high] if high != levels[-1] else 0.0
        yield ShardGain(high, ref.size_bytes, significant(max(0.0, errors[index, low] - above)))
