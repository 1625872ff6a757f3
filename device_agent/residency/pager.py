"""The pager: moves one version's blocks between levels while requests read the snapshot they started with."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from common.blob_codec import decode_bytes
from common.block_codec import open_blob, shape_of
from common.errors import IntegrityError
from common.manifest import Block, Manifest
from device_agent.residency.background import in_background
from device_agent.residency.block_loader import OpenBlob, Opened, ReadBlob, load_block, shard_indices
from device_agent.residency.groups import block_groups
from device_agent.residency.heap import Released, give_back
from device_agent.residency.read_ahead import ReadAhead
from device_agent.residency.resident import ResidentBlock, Snapshot
from device_agent.residency.target import Target

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

    Whatever it does is done in a thread of low priority; its methods wait for that.

    Args:
        manifest: The version.
        read: Digest to a blob's wire bytes on this device; has to be safe in any thread.
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
        in_background(partial(self._load, _own_levels(manifest, levels)))
        give_back()

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

        A block whose base is above its level goes to its base. Blocks change one by one; those that share a
        tensor with a byte a weight change at once. Safe beside readers and beside itself.

        A failure leaves the levels as they were before: blocks that went up go down again from memory, those
        that went down are read again. Where the disk does not give them back either, every block is whole all
        the same, and the error says so.

        Raises:
            IntegrityError: A shard or the codes it yields are not what the manifest says.
        """
        _check_levels(self._manifest, levels)
        with self._paging:
            return self._change(Target(_own_levels(self._manifest, levels), self._unpacked))

    def set_unpacked(self, names: Collection[str]) -> None:
        """From now on these tensors take a byte a weight, and all others are packed; their levels stay.

        Changes block by block, under the same guarantees as a change of levels.
        """
        with self._paging:
            self._change(Target(self.levels, frozenset(names)))

    def renew(self) -> None:
        """Have ``prepare`` look at every block again: it does otherwise now."""
        with self._paging:
            for group in self._groups:
                self._publish(self._snapshot, group)

    def _load(self, levels: Sequence[int]) -> None:
        manifest = self._manifest
        wanted = [
            (block, index)
            for block, level in zip(manifest.blocks, levels, strict=True)
            for index in range(block.levels(manifest.levels).index(level) + 1)
        ]
        with ReadAhead(self._opened, wanted) as opened:
            for group in self._groups:
                blocks = [
                    load_block(manifest.blocks[at], manifest.levels, levels[at], opened, self._unpacked)
                    for at in group
                ]
                self._publish(self._snapshot.extended(blocks), group)

    def _change(self, target: Target) -> PageReport:
        before = Target(self.levels, self._unpacked)
        released = Released()
        try:
            report = in_background(partial(self._bring, target, released))
        except Exception as error:
            in_background(partial(self._bring_back, before, released, error))
            raise
        finally:
            released.then_give_back()
        self._unpacked = target.unpacked
        return report

    def _bring(self, target: Target, released: Released) -> PageReport:
        """All blocks are at the target."""
        started = time.monotonic()
        units = list(self._units(target))
        shards = [shard for unit in units for at in unit for shard in self._shards(at, target)]
        with ReadAhead(self._opened, shards) as opened:
            freed_bytes = [self._exchange(self._after(unit, target, opened), released) for unit in units]
        changed = sum(map(len, units))
        paged_in_bytes = sum(block.blobs[index].size_bytes for block, index in shards)
        paged_out_bytes = sum(max(each, 0) for each in freed_bytes)
        return PageReport(paged_in_bytes, paged_out_bytes, changed, time.monotonic() - started)

    def _after(self, unit: Collection[int], target: Target, opened: OpenBlob) -> dict[int, ResidentBlock]:
        """Some blocks at the target."""
        levels, blocks, now = self._manifest.levels, self._manifest.blocks, self._snapshot.blocks
        return {at: target.block(at, blocks[at], levels, now[at], opened) for at in unit}

    def _exchange(self, after: Mapping[int, ResidentBlock], released: Released) -> int:
        """Blocks are published in place of what was there, all at once; how many bytes fewer they take."""
        before = self._snapshot
        self._publish(before.with_blocks(after), tuple(after))
        now = self._snapshot
        freed_bytes = sum(before.blocks[at].size_bytes - now.blocks[at].size_bytes for at in after)
        released.watch(before, freed_bytes)
        return freed_bytes

    def _bring_back(self, before: Target, released: Released, cause: Exception) -> None:
        """All blocks are as they were, but for those that the disk does not give again.

        Raises:
            IntegrityError: There are such.
        """
        lost: dict[int, Exception] = {}
        for unit in self._units(before):
            try:
                self._exchange(self._after(unit, before, self._opened), released)
            except Exception as error:  # noqa: BLE001  the others shall come back whatever it is
                lost |= dict.fromkeys(unit, error)
        if lost:
            raise IntegrityError(
                f"A change of levels failed ({cause}), and blocks {sorted(lost)} did not come back"
                f" ({next(iter(lost.values()))}). All are whole, at levels {list(self.levels)}.",
                advice="Fetch the version's blobs again, then set its levels again.",
            ) from cause

    def _units(self, target: Target) -> Iterator[Collection[int]]:
        """Blocks that are not at the target yet, in sets that change at once, those that take less first."""
        blocks = self._snapshot.blocks
        units: list[Collection[int]] = []
        for group in self._groups:
            changed = [at for at in group if not target.reached(at, blocks[at])]
            whole = any(target.has_bytes(blocks[at]) for at in group)
            units += [changed] if whole and changed else [[at] for at in changed]
        return iter(sorted(units, key=lambda unit: any(target.takes_more(at, blocks[at]) for at in unit)))

    def _shards(self, at: int, target: Target) -> Iterator[tuple[Block, int]]:
        block, now = self._manifest.blocks[at], self._snapshot.blocks[at].level
        for index in shard_indices(block, self._manifest.levels, now, target.levels[at]):
            yield block, index

    def _opened(self, block: Block, index: int) -> Opened:
        """A blob from disk, held against its digest before anyone looks into it."""
        ref = block.blobs[index]
        data = decode_bytes(self._read(ref.digest), ref)
        return open_blob(data, ref, shape_of(block, self._manifest.levels, index))

    def _publish(self, snapshot: Snapshot, changed: Collection[int]) -> None:
        self._snapshot = self._prepare(snapshot, changed) if self._prepare else snapshot


def _own_levels(manifest: Manifest, levels: Sequence[int]) -> tuple[int, ...]:
    """The nearest level that each block has."""
    return tuple(
        block.nearest(manifest.levels, level) for block, level in zip(manifest.blocks, levels, strict=True)
    )


def _check_levels(manifest: Manifest, levels: Sequence[int]) -> None:
    if len(levels) != len(manifest.blocks) or not set(levels) <= set(manifest.levels):
        raise ValueError(
            f"{len(manifest.blocks)} blocks need levels of {manifest.levels}, not {levels!r:.200}."
        )
