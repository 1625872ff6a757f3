"""What a version weighs beside the schemes it is compared with, counted on its own tensors."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from common.manifest import BlobRef, Block
from common.sizes import SizeReport
from server.quantize.block_coder import BlockValues, dedicated_bytes
from server.quantize.plan import State

_INT8: Final = 8
_WORD_BITS: Final = 64
_ROW_BYTES: Final = 8  # one float32 scale and one float32 offset or zero point


def dedicated_sizes(values: BlockValues, levels: Sequence[int]) -> dict[int, int]:
    """Wire bytes of a block in an INT8 model and in a model for each level alone, by bit-width."""
    return {level: dedicated_bytes(values, level) for level in sorted({_INT8, *levels})}


class SizeMeter:
    """Adds a version up, block by block."""

    def __init__(self, levels: Sequence[int]) -> None:
        self._levels = tuple(levels)
        self._base_bytes = 0
        self._shard_bytes: Counter[int] = Counter()
        self._dedicated_bytes: Counter[int] = Counter()
        self._seen: set[str] = set()

    def add(self, block: Block, dedicated: Mapping[int, int]) -> None:
        """Count a block; a blob that another block has too is sent once and counts once.

        A base counts as such whatever its level, a shard at the level that it reaches.

        Args:
            block: The block.
            dedicated: Its ``dedicated_sizes``.
        """
        self._base_bytes += self._new_bytes(block.blobs[0])
        for level, ref in zip(block.levels(self._levels)[1:], block.blobs[1:], strict=True):
            self._shard_bytes[level] += self._new_bytes(ref)
        self._dedicated_bytes.update(dedicated)

    @property
    def wire_bytes(self) -> int:
        """All blobs of the blocks so far."""
        return self._base_bytes + self._shard_bytes.total()

    def report(self, states: Iterable[State], metadata: Iterable[BlobRef]) -> SizeReport:
        """The whole version.

        Args:
            states: The model's tensors, as planned.
            metadata: Graph and self-test.
        """
        states = tuple(states)
        counts = [math.prod(state.shape) for state in states if state.quantized]
        row_bytes = _ROW_BYTES * sum(state.shape[0] for state in states if state.quantized)
        float_bytes = sum(state.size_bytes for state in states if not state.quantized)
        base, full = self._levels[0], self._levels[-1]
        return SizeReport(
            fp32_bytes=4 * sum(counts) + float_bytes,
            int8_bytes=self._dedicated_bytes[_INT8],
            separate_bytes={level: self._dedicated_bytes[level] for level in self._levels},
            paper_high_bytes=sum(paper_bytes(count, base) for count in counts) + row_bytes + float_bytes,
            paper_low_bytes=sum(paper_bytes(count, full - base + 1) for count in counts)
            if full > base
            else 0,
            base_bytes=self._base_bytes,
            shard_bytes={level: self._shard_bytes[level] for level in self._levels[1:]},
            metadata_bytes=sum(ref.size_bytes for ref in metadata),
            weights=sum(counts),
            floats=sum(math.prod(state.shape) for state in states if not state.quantized),
        )

    def _new_bytes(self, ref: BlobRef) -> int:
        """What a blob adds to those counted so far."""
        if ref.digest in self._seen:
            return 0
        self._seen.add(ref.digest)
        return ref.size_bytes


def paper_bytes(count: int, bits: int) -> int:
    """One tensor as the paper's code packs it: ``64 // bits`` values in each 64-bit word."""
    return -(-count // (_WORD_BITS // bits)) * (_WORD_BITS // 8)
