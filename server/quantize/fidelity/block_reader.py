"""What a version's blocks hold, one block and level at a time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from common.manifest import Block, TensorPart
from server.quantize.level_source import LevelSource


@dataclass(frozen=True, slots=True, eq=False)
class BlockStates:
    """A block at one level.

    Attributes:
        rows: Weights of each part: float32 [rows, ...], the other axes as the tensor's.
        floats: What is not quantized, as it is stored; also what is another at each level.
    """

    rows: Mapping[TensorPart, torch.Tensor]
    floats: Mapping[str, torch.Tensor]


class BlockReader:
    """Puts blocks together from their blobs; keeps nothing.

    Args:
        levels: Of the version.
        read: A blob's bytes by digest.
    """

    def __init__(self, levels: Sequence[int], read: Callable[[str], bytes]) -> None:
        self.levels = tuple(levels)
        self._read = read

    def at(self, block: Block, level: int) -> BlockStates:
        """A block at a level of the version, or at its base where that is higher."""
        # As if its rows were whole tensors: others of them may be in other blocks.
        parts = {
            part: replace(part, shape=(part.rows, *part.shape[1:]), start=0, stop=part.rows)
            for part in block.tensors
        }
        alone = replace(block, tensors=tuple(parts.values()))
        source = LevelSource([alone], self.levels, level, self._read)
        return BlockStates(
            {part: source.tensor(part.name) for part in block.tensors},
            {name: source.tensor(name) for name in (*block.floats, *block.level_floats)},
        )
