"""The pager: moves one version's blocks between levels while requests read the snapshot they started with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from common.manifest import Manifest
from device_agent.residency.block_loader import (
    ReadBlob,
    lift_block,
    load_block,
    lower_block,
    reform_block,
    shard_bytes,
)
from device_agent.residency.groups import block_groups
from device_agent.residency.resident import ResidentBlock, Snapshot

Prepare = Callable[[Snapshot, Collection[int]], Snapshot]
"""Called with the snapshot that would be published and the indices of the blocks that changed in it; returns
the one to publish. An executor makes its own form of what changed there: it replaces the codes of parts by
views of that form, and fills ``prepared``. While a version is loaded, the snapshot ends with the blocks that
changed. What it raises leaves the published state as it was."""


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
        unpacked: Names of tensors that take a byte a weight; the others are packed.
        prepare: What an executor does with weights before they are published; None for nothing.

    Raises:
        IntegrityError: A blob or the codes it yields are not what the manifest says.
    """

    def __init__(
        self,
        manifest: Manifest,
        read: ReadBlob,
        levels: Sequence[int],
        *,
        unpacked: Collection[str] = (),
        prepare: Prepare | None = None,
    ) -> None:
        _check_levels(manifest, levels)
        self._manifest = manifest
        self._read = read
        self._prepare = prepare
        self._unpacked = frozenset(unpacked)
        self._groups = block_groups(manifest.blocks)
        self._paging = threading.Lock()
        self._snapshot = Snapshot.of(manifest.levels, ())
        for group in self._groups:
            blocks = [
                load_block(manifest.blocks[at], manifest.levels, levels[at], read, self._unpacked)
                for at in group
            ]
            self._publish(self._snapshot.extended(blocks), group)

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

        A block whose base is above its level goes to its base. Blocks that share a tensor change at once.

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

    def set_unpacked(self, names: Collection[str]) -> None:
        """From now on these tensors take a byte a weight, and all others are packed; their levels stay.

        Changes block by block, under the same guarantees as a change of levels.
        """
        with self._paging:
            self._unpacked = frozenset(names)
            for group in self._groups:
                blocks = {at: self._snapshot.blocks[at] for at in group}
                changed = {at: reform_block(block, self._unpacked) for at, block in blocks.items()}
                changed = {at: block for at, block in changed.items() if block is not blocks[at]}
                if changed:
                    self._publish(self._snapshot.with_blocks(changed), changed)

    def _page(self, levels: Sequence[int]) -> PageReport:
        started = time.monotonic()
        paged_in_bytes = paged_out_bytes = changed = 0
        now = self.levels
        for group in sorted(self._groups, key=lambda group: any(levels[at] > now[at] for at in group)):
            after: dict[int, ResidentBlock] = {}
            for at in group:
                if levels[at] == now[at]:
                    continue
                block, before = self._manifest.blocks[at], self._snapshot.blocks[at]
                if levels[at] < now[at]:
                    after[at] = lower_block(block, self._manifest.levels, before, levels[at])
                    paged_out_bytes += before.size_bytes - after[at].size_bytes
                else:
                    after[at] = lift_block(block, self._manifest.levels, before, levels[at], self._read)
                    paged_in_bytes += shard_bytes(block, self._manifest.levels, now[at], levels[at])
            if after:
                self._publish(self._snapshot.with_blocks(after), after)
                changed += len(after)
        return PageReport(paged_in_bytes, paged_out_bytes, changed, time.monotonic() - started)

    def _publish(self, snapshot: Snapshot, changed: Collection[int]) -> None:
        self._snapshot = self._prepare(snapshot, changed) if self._prepare else snapshot


def _check_levels(manifest: Manifest, levels: Sequence[int]) -> None:
    if len(levels) != len(manifest.blocks) or not set(levels) <= set(manifest.levels):
        raise ValueError(
            f"{len(manifest.blocks)} blocks need levels of {manifest.levels}, not {levels!r:.200}."
        )
