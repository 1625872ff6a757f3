"""A block's blobs rebuilt from deltas and from what is on disk, one block in memory at a time. Blocking."""

from __future__ import annotations

from collections.abc import Callable

from common.block_codec import Content, decode, encode, shape_of
from common.delta_codec import decode_delta
from common.errors import IntegrityError
from common.manifest import Block, Manifest
from device_agent.update.delta_plan import Rebuild

Read = Callable[[str], bytes]


class BlockRebuild:
    """The blobs of one block, asked for in ascending order; each is decoded once, however many need it.

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

    def prepare(self, index: int) -> None:
        """All that the blob at an index is rebuilt from is in memory.

        Raises:
            IntegrityError: A blob on disk is not what its name says.
            NotFoundError: One is not there.
        """
        self._load(self._held_block, self._held_levels, self._held, index + 1)
        self._load(self._block, self._levels, self._known, index)

    def blob(self, index: int, delta: bytes) -> bytes:
        """The bytes of the blob at an index, after ``prepare``; they are what the manifest names.

        Raises:
            IntegrityError: The delta gives other bytes, or none.
        """
        content = decode_delta(
            delta, self._held[: index + 1], self._known[:index], self._block, self._levels, index
        )
        data, ref = encode(content, shape_of(self._block, self._levels, index))
        wanted = self._block.blobs[index]
        if ref.digest != wanted.digest:
            raise IntegrityError(
                f"Blob {wanted.digest[:12]} comes out of its delta with other bytes.",
                expected=wanted.digest,
                actual=ref.digest,
            )
        if len(self._known) == index:
            self._known.append(content)
        return data

    def _load(self, block: Block, levels: tuple[int, ...], contents: list[Content], count: int) -> None:
        for index in range(len(contents), count):
            ref = block.blobs[index]
            contents.append(decode(self._read(ref.digest), ref, shape_of(block, levels, index)))
