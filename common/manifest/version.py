"""A version as values: its blocks, their blobs and what is in them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from common.nesting import Step, clamp_level, steps_of


@dataclass(frozen=True, slots=True)
class BlobRef:
    """A blob as it crosses the wire.

    Attributes:
        digest: SHA-256 of the wire bytes, 64 hex digits.
        size_bytes: Length of the wire bytes.
        raw_size_bytes: Length after decoding; a decoder refuses to yield more. Of a block's blob: what its
            values, packed, its rows' scales and offsets and its floats take in memory.
        coding: "raw", "zstd" for one zstd frame, or "block" (``common.block_codec``).
    """

    digest: str
    size_bytes: int
    raw_size_bytes: int
    coding: str


@dataclass(frozen=True, slots=True)
class TensorPart:
    """A quantized tensor, or some of its output rows, in a block.

    Attributes:
        name: The parameter's name in the graph.
        shape: The whole tensor's shape; axis 0 is the output channel.
        start, stop: The rows that this block holds.
    """

    name: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def rows(self) -> int:
        """Output channels in this block."""
        return self.stop - self.start

    @property
    def row_weights(self) -> int:
        """Weights in one output channel."""
        return math.prod(self.shape[1:])

    @property
    def weights(self) -> int:
        """Weights in this block."""
        return self.rows * self.row_weights


@dataclass(frozen=True, slots=True)
class Block:
    """The unit of paging.

    Attributes:
        tensors: Quantized tensors, in the order of their codes in the blobs.
        floats: Names of values that stay float; they are in the base blob.
        blobs: One per level of its own: the base, then the shards. A block without quantized tensors has a
            base alone.
        digests: One per blob: what names the block at that level, whichever way it came there; see
            ``common.block_codec.level_digest``.
        shard_bits: One per shard: the width of its values. Nothing where each is as wide as its step.
        level_floats: Names of values that stay float and are others at each level; they are in every blob.
        gains: One per shard: how much of the output's energy lifting this block alone by it takes out of the
            output's error, in millionths. Nothing where nobody has measured it.
    """

    tensors: tuple[TensorPart, ...]
    floats: tuple[str, ...]
    blobs: tuple[BlobRef, ...]
    digests: tuple[str, ...]
    shard_bits: tuple[int, ...] = ()
    level_floats: tuple[str, ...] = ()
    gains: tuple[int, ...] = ()

    @property
    def weights(self) -> int:
        """Quantized weights in this block."""
        return sum(part.weights for part in self.tensors)

    def levels(self, version_levels: Sequence[int]) -> tuple[int, ...]:
        """The levels that the block has, one per blob: from its base up to the version's last.

        A block without quantized tensors is the same at every level, and counts as one of the lowest.
        """
        return tuple(version_levels[-len(self.blobs) :] if self.tensors else version_levels[:1])

    def nearest(self, version_levels: Sequence[int], wanted: int) -> int:
        """The level that the block has where one of the version is wanted: no higher, but for its base."""
        return clamp_level(self.levels(version_levels), wanted)

    def steps(self, version_levels: Sequence[int]) -> tuple[Step, ...]:
        """What lies between the block's levels: one per shard."""
        return steps_of(self.levels(version_levels), self.shard_bits)


@dataclass(frozen=True, slots=True)
class Manifest:
    """One version, whole.

    Attributes:
        model, version: Its name.
        levels: At which it runs, ascending; a block may lack the first of them.
        rounding: Tells people how its codes were made; nothing depends on it.
        graph: The computation.
        self_test: What the version answers at each level.
        blocks: Its weights.
        fidelity: A report on how near the version is to its model, for operators; no device needs it.
    """

    model: str
    version: int
    levels: tuple[int, ...]
    rounding: str
    graph: BlobRef
    self_test: BlobRef
    blocks: tuple[Block, ...]
    fidelity: BlobRef | None = None

    def nearest(self, wanted: int) -> tuple[int, ...]:
        """The level of each block where all are wanted at one of the version's."""
        return tuple(block.nearest(self.levels, wanted) for block in self.blocks)

    def base_levels(self) -> tuple[int, ...]:
        """The level of each block's base."""
        return self.nearest(self.levels[0])

    def device_refs(self) -> Iterator[BlobRef]:
        """Every blob that a device may hold of the version, metadata first; a blob may come twice."""
        yield self.graph
        yield self.self_test
        for block in self.blocks:
            yield from block.blobs

    def blob_refs(self) -> Iterator[BlobRef]:
        """Every blob that the version names, for whomever; a blob may come twice."""
        yield from self.device_refs()
        if self.fidelity is not None:
            yield self.fidelity
