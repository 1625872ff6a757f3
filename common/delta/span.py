"""Which blobs of a block a delta covers, and what both ends know when they come to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.block_codec import Content, Shape, shape_of
from common.coding.nearby import Known
from common.manifest import Block


@dataclass(frozen=True, slots=True)
class Span:
    """Some neighbouring blobs of a block.

    Attributes:
        block: The wanted block; the held one is ``comparable``.
        levels: All levels of the version.
        first, last: Indices of the lowest and the highest blob.
    """

    block: Block
    levels: tuple[int, ...]
    first: int
    last: int

    @property
    def indices(self) -> range:
        """Of its blobs."""
        return range(self.first, self.last + 1)

    @property
    def has_base(self) -> bool:
        """Whether it brings the rows' grids."""
        return self.first == 0 and bool(self.block.tensors)

    @property
    def carry_bits(self) -> int:
        """Bits of its values beyond their step; spans of more than one blob have none."""
        return self.block.steps(self.levels)[self.first - 1].carry_bits if self.first else 0

    def shape(self, index: int) -> Shape:
        """What the blob at an index holds."""
        return shape_of(self.block, self.levels, index)

    def fitted(self, index: int) -> bool:
        """Whether the blob at an index has a fit."""
        return bool(self.block.tensors) and self.shape(index).fitted

    def known(self, held: Sequence[Content], wanted: Sequence[Content], at: int) -> Known:
        """What both ends know of the joint values of one part.

        Args:
            held: Contents of the held block's blobs, from the base to the last.
            wanted: Those of the wanted one, at least those below the span.
            at: The part's index.
        """
        own, part = self.block.levels(self.levels), self.block.tensors[at]
        earlier = self.joint(held, at)
        if self.first == 0:
            below = np.zeros(earlier.size, np.int16)
            return Known(earlier, below, own[self.last], own[self.last], part.rows)
        steps = self.block.steps(self.levels)[self.first - 1 : self.last]
        rose = self._codes_below(wanted, at) - self._codes_below(held, at)
        bits = sum(step.shard_bits for step in steps)
        return Known(earlier, rose, bits, own[self.last] - own[self.first - 1], part.rows)

    def joint(self, contents: Sequence[Content], at: int) -> NDArray[np.uint8]:
        """The values of all blobs as one each, the lowest blob's in the highest bits: uint8 [weights]."""
        steps = self.block.steps(self.levels)
        joint = contents[self.first].values[at]
        for index in range(self.first + 1, self.last + 1):
            joint = np.left_shift(joint, np.uint8(steps[index - 1].shard_bits)) | contents[index].values[at]
        return joint

    def apart(self, joint: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], ...]:
        """The inverse of ``joint``: one array per blob."""
        steps = self.block.steps(self.levels)
        values: list[NDArray[np.uint8]] = []
        for index in range(self.last, self.first, -1):
            bits = steps[index - 1].shard_bits
            values.insert(0, np.bitwise_and(joint, np.uint8((1 << bits) - 1)))
            joint = np.right_shift(joint, np.uint8(bits))
        return (joint, *values)

    def _codes_below(self, contents: Sequence[Content], at: int) -> NDArray[np.int16]:
        """Codes at the level below the span, as they come from the base: int16 [weights]."""
        codes = contents[0].values[at].astype(np.int16)
        steps = self.block.steps(self.levels)
        for content, step in zip(contents[1 : self.first], steps, strict=False):
            codes = np.left_shift(codes, step.bits) + content.values[at] - np.int16(step.shard_zero)
        return codes


def comparable(held: Block, wanted: Block, held_levels: Sequence[int], wanted_levels: Sequence[int]) -> bool:
    """Whether blobs of one block can be told by what changed since another: all but their values is alike."""
    return (
        tuple(held_levels) == tuple(wanted_levels)
        and held.tensors == wanted.tensors
        and len(held.blobs) == len(wanted.blobs)
        and held.shard_bits == wanted.shard_bits
        and set(held.floats) == set(wanted.floats)
        and set(held.level_floats) == set(wanted.level_floats)
    )


def spans(block: Block, levels: Sequence[int], first: int, count: int) -> tuple[Span, ...]:
    """How deltas for a block's blobs, from an index up to a count of them, are cut.

    Plain steps are each other's bits, so of them one difference of whole codes tells all blobs at once;
    shards with carries are told blob by blob.
    """
    if first >= count:
        return ()
    if any(step.carry_bits for step in block.steps(levels)):
        return tuple(Span(block, tuple(levels), index, index) for index in range(first, count))
    return (Span(block, tuple(levels), first, count - 1),)
