"""The store as the rest of the agent uses it: files first, the ledger second, in every operation."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from pathlib import Path

from common.errors import IntegrityError
from common.manifest import BlobRef, Manifest
from device_agent.residency.policy.disk import Holding, disk_plan
from device_agent.store.blobs import BlobFolder
from device_agent.store.failures import disk_errors
from device_agent.store.kernel_choices import FILE_NAME as KERNEL_CHOICES_NAME
from device_agent.store.kernel_choices import KernelChoices
from device_agent.store.ledger import Item, Kind, Ledger
from device_agent.store.lock import StoreLock
from device_agent.store.manifests import ManifestFolder
from device_agent.store.records import Release
from device_agent.store.state_file import StateFile

STATE_NAME = "state.json"
_log = logging.getLogger(__name__)


class Store:
    """Blobs, manifests, the record and the ledger of one device. Blocking, but for ``state``.

    Attributes:
        state: The agent's record.
        blobs: Blobs on disk.
        ledger: What was received.
        kernel_choices: Which layers are faster on integer kernels.
        waiting: Blobs that no manifest names and tidying up leaves alone: deltas of an update under way.
        budget_bytes: What blobs and manifests may take; 0 for all that the disk has.
    """

    def __init__(self, lock: StoreLock, state: StateFile, root: Path, budget_bytes: int = 0) -> None:
        self._lock = lock
        self.state = state
        self.blobs = BlobFolder(root)
        self.kernel_choices = KernelChoices(root)
        self.waiting: frozenset[str] = frozenset()
        self.budget_bytes = budget_bytes
        self._manifests = ManifestFolder(root)
        self.ledger = _open_ledger(root / "ledger.sqlite")
        self._take_stock()

    @classmethod
    def open(cls, root: Path, device_id: str = "", budget_bytes: int = 0) -> Store:
        """The store in a folder, made if need be, and right again whatever ended its last use.

        Args:
            root: The folder.
            device_id: Whose it shall be; empty for whoever has it.
            budget_bytes: What it may take; 0 for all that the disk has.

        Raises:
            ConflictError: Another agent has it.
            ConfigError: It belongs to another device id.
            IntegrityError: Its record is damaged.
            CapacityError: The disk refuses it.
        """
        with disk_errors():
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = StoreLock(root / "lock")
        try:
            with disk_errors():
                for name in (STATE_NAME, KERNEL_CHOICES_NAME):
                    for left_over in root.glob(f".{name}.*"):
                        left_over.unlink()
            return cls(lock, StateFile.open(root / STATE_NAME, device_id), root, budget_bytes)
        except BaseException:
            lock.release()
            raise

    def manifest(self, release: Release) -> Manifest | None:
        """A manifest on disk; None when it is not here or not sound."""
        return self._manifests.read(release)

    def expect_manifest(self, release: Release) -> None:
        """A manifest is about to be received."""
        self.ledger.expect(release.model, release.version, Item(release.manifest_digest, Kind.METADATA, 0, 0))

    def put_manifest(self, release: Release, frame: bytes) -> None:
        """A received manifest is on disk and counted.

        Raises:
            CapacityError: The disk does not take it; it is counted all the same, if the disk takes the count.
        """
        digest = release.manifest_digest
        try:
            self._manifests.put(digest, frame)
        finally:
            on_disk_bytes = self._manifests.sizes().get(digest, 0)
            self._note(digest, on_disk_bytes)
            if not on_disk_bytes:
                self.waste(digest, len(frame))

    def waste(self, digest: str, count_bytes: int) -> None:
        """Bytes were received that nobody can use."""
        self.ledger.waste(digest, count_bytes)

    def expect(self, release: Release, items: Sequence[Item]) -> dict[str, int]:
        """Blobs are about to be received; digest to the bytes of each that are here already."""
        self.ledger.expect(release.model, release.version, *items)
        return {item.digest: self.blobs.size_bytes(item.digest) for item in items}

    def append(self, digest: str, data: bytes) -> int:
        """The blob has the bytes at its end; its size now.

        Raises:
            CapacityError: The disk does not take them all; those that it took are counted.
        """
        try:
            return self.blobs.append(digest, data)
        finally:
            self.ledger.observe(digest, self.blobs.size_bytes(digest))

    def finish(self, refs: Sequence[BlobRef]) -> dict[str, IntegrityError]:
        """The blobs are whole, verified and durable.

        Returns:
            Digest to what is the matter, for those whose bytes are not what their names say; they are gone.

        Raises:
            CapacityError: The disk fails.
        """
        try:
            return self.blobs.finish(refs)
        finally:
            for ref in refs:
                self.ledger.observe(ref.digest, self.blobs.size_bytes(ref.digest))
            self.ledger.commit()

    def put_whole(self, ref: BlobRef, data: bytes) -> None:
        """A blob that was made here is whole and durable; no byte of it counts as received.

        Raises:
            CapacityError: The disk does not take it.
        """
        self.ledger.place(ref.digest, ref.size_bytes)
        try:
            self.blobs.put_whole(ref, data)
        finally:
            self._note(ref.digest, self.blobs.size_bytes(ref.digest))

    def drop(self, digest: str) -> None:
        """A blob that has served its purpose is gone; that it was received stays known."""
        self.blobs.remove(digest)
        self._note(digest, 0)

    def settle(self) -> None:
        """What was received so far is durable in the ledger."""
        self.ledger.commit()

    def remove_rotten(self, manifest: Manifest) -> int:
        """Blobs of a version that are not what their names say any more are gone; how many."""
        refs = {ref.digest: ref for ref in manifest.device_refs() if self.blobs.has(ref.digest)}
        rotten = [ref for ref in refs.values() if not self.blobs.verify(ref)]
        for ref in rotten:
            _log.warning("Blob %s has rotted on disk and is removed", ref.digest[:12])
            self._remove(ref.digest)
        return len(rotten)

    def keep_only(self, releases: Collection[Release]) -> int:
        """Only blobs and manifests of these versions stay, and what is waiting; bytes freed.

        Does nothing where one of the manifests cannot be read, since nobody knows then what to keep.
        """
        kept = set(self.waiting)
        for release in releases:
            manifest = self.manifest(release)
            if manifest is None:
                return 0
            kept |= {release.manifest_digest, *(ref.digest for ref in manifest.device_refs())}
        sizes = self.sizes()
        surplus = set(sizes) - kept
        for digest in surplus:
            self._remove(digest)
        return sum(sizes[digest] for digest in surplus)

    def room_bytes(self, reserve_bytes: int) -> int:
        """What may still come; below 0, what is too much.

        Args:
            reserve_bytes: Room on the disk that stays free.
        """
        room_bytes = self.blobs.free_bytes() - reserve_bytes
        if self.budget_bytes:
            room_bytes = min(room_bytes, self.budget_bytes - sum(self.sizes().values()))
        return room_bytes

    def shed(self, holdings: Sequence[Holding], needed: Collection[str], room_bytes: int) -> int:
        """Shards that are worth less than what is to come are gone, if that makes room; bytes freed.

        Args:
            holdings: What runs, what is wanted and the way back.
            needed: Digests of what is to come; where not all of it finds room, nothing goes.
            room_bytes: What may still come as things are.
        """
        sizes = self.sizes()
        plan = disk_plan(holdings, sizes, sum(sizes.values()) + room_bytes)
        if not set(needed) <= set(plan.fetch):
            return 0
        for digest in plan.drop:
            self._remove(digest)
        return sum(sizes[digest] for digest in plan.drop)

    def sizes(self) -> dict[str, int]:
        """Digest to bytes on disk, of blobs and manifests."""
        return {**self._manifests.sizes(), **self.blobs.sizes()}

    def close(self) -> None:
        """All is durable; another agent may have the store."""
        self.ledger.close()
        self._lock.release()

    def _remove(self, digest: str) -> None:
        self.blobs.remove(digest)
        self._manifests.remove(digest)
        self._note(digest, 0)

    def _note(self, digest: str, on_disk_bytes: int) -> None:
        self.ledger.observe(digest, on_disk_bytes)
        self.ledger.commit()

    def _take_stock(self) -> None:
        """The ledger knows the size of every file; partial files that it never expected are gone."""
        known = self.ledger.sizes()
        for digest in set(self.blobs.partial()) - set(known):
            self.blobs.remove(digest)
        sizes = self.sizes()
        for digest, size_bytes in known.items():
            if sizes.get(digest, 0) != size_bytes:
                self.ledger.observe(digest, sizes.get(digest, 0))
        self.ledger.commit()


def _open_ledger(path: Path) -> Ledger:
    """The ledger; one that is damaged is put aside and a new one, with a new id, begins."""
    try:
        return Ledger(path)
    except IntegrityError as error:
        _log.error("%s A new ledger begins; the old one is kept as %s.damaged", error, path)
        with disk_errors():
            path.replace(path.with_name(f"{path.name}.damaged"))
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        return Ledger(path)
