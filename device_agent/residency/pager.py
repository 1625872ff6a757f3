"""The pager: moves one version's blocks between levels while requests read the snapshot they started with."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from common.manifest import Manifest
from device_agent.residency.block_loader import ReadBlob, lift_block, load_block, lower_block, shard_bytes
from device_agent.residency.resident import Snapshot


@dataclass(frozen=True, slots=True)
class PageReport:
    """What a change of levels took.

    Attributes:
        paged_in_bytes: Wire bytes of the shards read from disk.
        paged_out_bytes: Memory given back by the blocks that went down.
        blocks: How many blocks changed.
        seconds: Wall time.
    """

    paged_in_bytes: int
    paged_out_bytes: int
    blocks: int
    seconds: float


class Pager:
    """One version's weights in memory.

    Args:
        manifest: The version.
        read: Digest to a blob's wire bytes on this device.
        levels: The level of each block to begin with.

    Raises:
        IntegrityError: A blob or the codes it yields are not what the manifest says.
    """

    def __init__(self, manifest: Manifest, read: ReadBlob, levels: Sequence[int]) -> None:
        _check_levels(manifest, levels)
        self._manifest = manifest
        self._read = read
        self._paging = threading.Lock()
        blocks = [
            load_block(block, manifest.levels, level, read)
            for block, level in zip(manifest.blocks, levels, strict=True)
        ]
        self._snapshot = Snapshot.of(manifest.levels, blocks)

    @property
    def snapshot(self) -> Snapshot:
        """The weights as they are now; what is returned never changes."""
        return self._snapshot

    @property
    def levels(self) -> tuple[int, ...]:
        """The level of each block; a block without quantized tensors is at the version's lowest."""
        return tuple(block.level for block in self._snapshot.blocks)

    def set_levels(self, levels: Sequence[int]) -> PageReport:
        """Bring each block to its level: first those that go down, so that memory is free for the others.

        A block whose base is above its level goes to its base.

        Safe beside readers and beside itself. A failure leaves the blocks done so far at their new level and
        the others at their old one, all of them whole.

        Raises:
            IntegrityError: A shard or the codes it yields are not what the manifest says.
        """
        _check_levels(self._manifest, levels)
        own = [
            block.nearest(self._manifest.levels, level)
            for block, level in zip(self._manifest.blocks, levels, strict=True)
        ]
        with self._paging:
            return self._page(own)

    def _page(self, levels: Sequence[int]) -> PageReport:
        started = time.monotonic()
        paged_in_bytes = paged_out_bytes = changed = 0
        order = sorted(range(len(levels)), key=lambda index: levels[index] > self.levels[index])
        for index in order:
            block, before = self._manifest.blocks[index], self._snapshot.blocks[index]
            if before.level == levels[index]:
                continue
            if levels[index] < before.level:
                after = lower_block(block, self._manifest.levels, before, levels[index])
                paged_out_bytes += before.size_bytes - after.size_bytes
            else:
                after = lift_block(block, self._manifest.levels, before, levels[index], self._read)
                paged_in_bytes += shard_bytes(block, self._manifest.levels, before.level, levels[index])
            self._snapshot = self._snapshot.with_block(index, after)
            changed += 1
        return PageReport(paged_in_bytes, paged_out_bytes, changed, time.monotonic() - started)


def _check_levels(manifest: Manifest, levels: Sequence[int]) -> None:
    if len(levels) != len(manifest.blocks) or not set(levels) <= set(manifest.levels):
        raise ValueError(
            f"{len(manifest.blocks)} blocks need levels of {manifest.levels}, not {levels!r:.200}."
        )
