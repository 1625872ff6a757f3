"""Fetching: room first, then stream after stream until all is here, or what cannot be had is known."""

from __future__ import annotations

import contextlib
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from common.errors import CapacityError, Error, IntegrityError, LinkError
from common.manifest import BlobRef, Manifest
from device_agent.blocking import run_blocking
from device_agent.link.server import ServerLink
from device_agent.store.ledger import Item, Kind
from device_agent.store.manifests import open_frame
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.pacing import Pacer
from device_agent.update.transfer import Transfer

_TRIES: Final = 3
_DISPENSABLE: Final = (Kind.SHARD, Kind.DELTA)
_log = logging.getLogger(__name__)

Plan = Sequence[tuple[Item, BlobRef]]


class Fetcher:
    """Brings manifests and blobs into the store.

    Args:
        server: Where they come from.
        store: Where they go.
        pacer: Holds the rate down.
        disk_reserve_bytes: Room on the disk that stays free.
        on_progress: Called when more is on the disk.
    """

    def __init__(
        self,
        server: ServerLink,
        store: Store,
        *,
        pacer: Pacer,
        disk_reserve_bytes: int,
        on_progress: Callable[[], None],
    ) -> None:
        self._server = server
        self._store = store
        self._pacer = pacer
        self._disk_reserve_bytes = disk_reserve_bytes
        self._on_progress = on_progress
        self._wrong: Counter[str] = Counter()

    async def manifest(self, release: Release) -> Manifest:
        """The release's manifest, verified and on disk.

        Raises:
            NotFoundError: The server has it no more.
            IntegrityError: What came is not what the digest names, three times.
            ManifestError: It breaks the rules, or is another version's.
            LinkError: The server is away.
            CapacityError: The disk does not take it.
        """
        for left in reversed(range(_TRIES)):
            try:
                return await self._manifest(release)
            except IntegrityError as error:
                _log.warning("The manifest of %s: %s", release, error)
                if not left:
                    raise
        raise AssertionError("unreachable")

    async def blobs(self, release: Release, plan: Plan) -> None:
        """All blobs of the plan, in its order, whole and verified.

        What is wrong with one shard keeps no other from coming; without its metadata and bases a version is
        nothing, so that is an error at once.

        Raises:
            CapacityError: The disk has no room for all of it, found before the first byte; or it fails.
            NotFoundError: The server has one no more.
            IntegrityError: What came is not what the digest names, three times.
            LinkError: The server is away; what came so far stays.
            Error: What the pacer says; what came so far stays.
        """
        first_error: Error | None = None
        missing = list(plan)
        while missing:
            failed = await self._round(release, missing)
            given_up = {digest: error for digest, error in failed.items() if self._gives_up(digest, error)}
            for item, _ in missing:
                error = given_up.get(item.digest)
                if error is not None and item.kind not in _DISPENSABLE:
                    raise error
                first_error = first_error or error
            missing = [
                (item, ref)
                for item, ref in missing
                if item.digest not in given_up and not self._store.blobs.has(item.digest)
            ]
        if first_error is not None:
            raise first_error
        self._wrong.clear()

    def check_room(self, plan: Plan) -> None:
        """Nothing, when the disk has room for a plan. Blocking.

        Raises:
            CapacityError: It has not.
        """
        needed_bytes = sum(
            max(0, ref.size_bytes - self._store.blobs.size_bytes(ref.digest)) for _, ref in plan
        )
        available_bytes = self._store.room_bytes(self._disk_reserve_bytes)
        if needed_bytes > available_bytes:
            budget_bytes = self._store.budget_bytes
            within = f", within the store's budget of {budget_bytes}" if budget_bytes else ""
            raise CapacityError(
                f"The download needs {needed_bytes} bytes on the disk and {max(0, available_bytes)} are left"
                f" above the reserve of {self._disk_reserve_bytes}{within}.",
                needed_bytes=needed_bytes,
                available_bytes=max(0, available_bytes),
                advice="Free some space on the store's disk.",
            )

    async def _round(self, release: Release, plan: Plan) -> dict[str, Error]:
        here = await run_blocking(lambda: self._expect(release, plan))
        transfer = Transfer(self._server, self._store, pacer=self._pacer, on_progress=self._on_progress)
        vital = {item.digest for item, _ in plan if item.kind not in _DISPENSABLE}
        try:
            return await transfer.run([ref for _, ref in plan], here, vital=vital)
        except LinkError as broken:
            # A server that sends wrong bytes and then breaks the stream is not to be asked for ever.
            for digest in vital & transfer.failed.keys():
                if self._gives_up(digest, transfer.failed[digest]):
                    raise transfer.failed[digest] from broken
            raise
        finally:
            for digest, error in transfer.failed.items():
                _log.warning("Blob %s: %s", digest[:12], error)

    def _gives_up(self, digest: str, error: Error) -> bool:
        """Whether there is no use in another try."""
        if not isinstance(error, IntegrityError):
            return True
        self._wrong[digest] += 1
        if self._wrong[digest] < _TRIES:
            return False
        del self._wrong[digest]
        return True

    async def _manifest(self, release: Release) -> Manifest:
        await run_blocking(lambda: self._store.expect_manifest(release))
        frame = await self._server.manifest(release.manifest_digest)
        try:
            manifest = open_frame(frame, release)
        except IntegrityError:
            await self._waste(release.manifest_digest, len(frame))
            raise
        await run_blocking(lambda: self._store.put_manifest(release, frame))
        return manifest

    def _expect(self, release: Release, plan: Plan) -> dict[str, int]:
        """Room first, then the ledger; digest to the bytes of each blob that are here."""
        self.check_room(plan)
        return self._store.expect(release, [item for item, _ in plan])

    async def _waste(self, digest: str, count_bytes: int) -> None:
        """Received bytes that nobody can use are counted, if the disk takes the count."""
        with contextlib.suppress(CapacityError):
            await run_blocking(lambda: self._store.waste(digest, count_bytes))
