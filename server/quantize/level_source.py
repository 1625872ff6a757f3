"""Weights at a level, put together from a version's blobs, as the graph asks for them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from common.block_codec import Content, affine_of, decode_blobs, shape_of
from common.manifest import Block, TensorPart
from common.nesting import lift
from server.quantize.affine import Affine


class LevelSource:
    """A ``common.graph.build.StateSource``; has the blobs of one block in memory at a time.

    Args:
        blocks: All blocks of the version.
        levels: Its levels.
        level: The one at which all weights are, or one per block; a block whose base is above its level is at
            its base.
        read: A blob's bytes by digest.
    """

    def __init__(
        self,
        blocks: Sequence[Block],
        levels: Sequence[int],
        level: int | Sequence[int],
        read: Callable[[str], bytes],
    ) -> None:
        each = [level] * len(blocks) if isinstance(level, int) else level
        self._levels = levels
        self._wanted = dict(zip(blocks, each, strict=True))
        self._read = read
        self._parts: dict[str, list[tuple[Block, TensorPart]]] = defaultdict(list)
        for block in blocks:
            for part in block.tensors:
                self._parts[part.name].append((block, part))
        self._floats = {name: block for block in blocks for name in (*block.floats, *block.level_floats)}
        self._decoded: tuple[Block | None, list[Content]] = (None, [])

    def tensor(self, name: str) -> torch.Tensor:
        """A state by its name: ``scale * codes + offset`` as float32, or what stayed as it was."""
        if name in self._floats:
            block = self._floats[name]
            blob = self._contents(block)[-1 if name in block.level_floats else 0]
            return torch.from_numpy(blob.floats[name])
        rows = [self._rows(block, part) for block, part in self._parts[name]]
        shape = self._parts[name][0][1].shape
        return torch.from_numpy(np.concatenate(rows).reshape(shape))

    def codes(self, block: Block, part: TensorPart) -> NDArray[np.int8]:
        """Codes of some rows at the block's level: int8 [rows, row_weights]."""
        contents = self._contents(block)
        at, base_level = block.tensors.index(part), block.levels(self._levels)[0]
        codes = (contents[0].values[at] - np.uint8(1 << (base_level - 1))).view(np.int8)
        for content, step in zip(contents[1:], block.steps(self._levels), strict=False):
            codes = lift(codes, content.values[at], step.bits, shard_zero=step.shard_zero)
        return codes.reshape(part.rows, -1)

    def _rows(self, block: Block, part: TensorPart) -> NDArray[np.float32]:
        codes = self.codes(block, part)
        contents, at = self._contents(block), block.tensors.index(part)
        shape = shape_of(block, self._levels, len(contents) - 1)
        affine = affine_of(contents[0].grids[at], contents[-1].fits, at, shape)
        return Affine(codes, affine.scale, affine.offset).weights()

    def _contents(self, block: Block) -> list[Content]:
        if self._decoded[0] is not block:
            level = block.nearest(self._levels, self._wanted[block])
            count = block.levels(self._levels).index(level) + 1
            self._decoded = (block, decode_blobs(block, self._levels, self._read, count))
        return self._decoded[1]
