"""A block's blobs rebuilt from deltas and from what is on disk, one block in memory at a time. Blocking."""

from __future__ import annotations

from collections.abc import Callable

from common.block_codec import Content, decode, encode, shape_of
from common.delta import Span, decode_delta
from common.manifest import Block, Manifest
from device_agent.update.delta_plan import Rebuild

Read = Callable[[str], bytes | memoryview]


class BlockRebuild:
    """Blobs of one block, from its base up; what is on disk is decoded once, however many deltas need it.

    Args:
        wanted: The version that is wanted.
        held: The version that is on disk.
        rebuild: One of the block's rebuilds; says which blocks.
        read: Digest to the bytes of a blob on disk.
    """

    def __init__(self, wanted: Manifest, held: Manifest, rebuild: Rebuild, read: Read) -> None:
        self._block = wanted.blocks[rebuild.block]
        self._levels = wanted.levels
        self._held_block = held.blocks[rebuild.held_block]
        self._held_levels = held.levels
        self._read = read
        self._held: list[Content] = []
        self._known: list[Content] = []

    def prepare(self, span: Span) -> None:
        """All that a span's blobs are rebuilt from is in memory.

        Raises:
            IntegrityError: A blob on disk is not what its name says.
            NotFoundError: One is not there.
        """
        self._load(self._held_block, self._held_levels, self._held, span.last + 1)
        self._load(self._block, self._levels, self._known, span.first)

    def blobs(self, span: Span, delta: bytes | memoryview) -> list[bytes | None]:
        """The bytes of a span's blobs, lowest first, after ``prepare``; None for one that comes out wrong.

        Raises:
            IntegrityError: The delta is none of this span.
        """
        contents = decode_delta(delta, self._held[: span.last + 1], self._known[: span.first], span)
        return [
            self._encoded(content, span, index) for content, index in zip(contents, span.indices, strict=True)
        ]

    def _encoded(self, content: Content, span: Span, index: int) -> bytes | None:
        data, ref = encode(content, span.shape(index))
        if ref.digest != self._block.blobs[index].digest:
            return None
        if len(self._known) == index:
            self._known.append(content)
        return data

    def _load(self, block: Block, levels: tuple[int, ...], contents: list[Content], count: int) -> None:
        for index in range(len(contents), count):
            ref = block.blobs[index]
            contents.append(decode(self._read(ref.digest), ref, shape_of(block, levels, index)))
