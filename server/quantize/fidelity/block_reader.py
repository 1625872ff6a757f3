"""A version's blocks as float rows, one block and level at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from common.manifest import Block, TensorPart
from server.quantize.level_source import LevelSource


class BlockReader:
    """Puts rows together from the blobs; keeps nothing.

    Args:
        levels: Of the version.
        read: A blob's bytes by digest.
    """

    def __init__(self, levels: Sequence[int], read: Callable[[str], bytes]) -> None:
        self.levels = tuple(levels)
        self._read = read

    def own_levels(self, block: Block) -> tuple[int, ...]:
        """The levels that a block has blobs for: always the highest, but for floats alone one of any."""
        return self.levels[-len(block.blobs) :] if block.tensors else self.levels[:1]

    def rows(self, block: Block, level: int) -> Mapping[TensorPart, torch.Tensor]:
        """Each part's weights at a level, or at the block's base where that is higher.

        Returns:
            float32 [rows, ...] each, the other axes as the tensor's.
        """
        if not block.tensors:
            return {}
        own = self.own_levels(block)
        # As if its rows were whole tensors, and its own levels the version's.
        parts = {part: replace(part, shape=(part.rows, *part.shape[1:]), start=0, stop=part.rows)
                 for part in block.tensors}  # fmt: skip
        alone = replace(block, tensors=tuple(parts.values()))
        source = LevelSource([alone], own, max(level, own[0]), self._read)
        return {part: source.tensor(part.name) for part in block.tensors}

    def floats(self, block: Block) -> Mapping[str, torch.Tensor]:
        """What the block holds that is not quantized, as it is stored."""
        base = self.own_levels(block)[:1]
        source = LevelSource([replace(block, blobs=block.blobs[:1])], base, base[0], self._read)
        return {name: source.tensor(name) for name in block.floats}
