"""Fetching: room first, then blob by blob, each from the byte where the last try ended, and verified."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import Final

from common.errors import CapacityError, IntegrityError, InvalidInputError, LinkError
from common.manifest import BlobRef, Manifest
from device_agent.blocking import run_blocking
from device_agent.link.server import ServerLink
from device_agent.store.ledger import Item
from device_agent.store.manifests import open_frame
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.pacing import Pacer

_TRIES: Final = 3
# A peer that drips bytes is cut: a stream must average this much, after a first allowance.
_LEAST_BYTES_PER_SECOND: Final = 2048
_ALLOWANCE_SECONDS: Final = 120.0
_log = logging.getLogger(__name__)

Plan = Sequence[tuple[Item, BlobRef]]


class Fetcher:
    """Brings manifests and blobs into the store.

    Args:
        server: Where they come from.
        store: Where they go.
        pacer: Holds the rate down.
        disk_reserve_bytes: Room on the disk that stays free.
        on_progress: Called after every chunk.
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

        Raises:
            CapacityError: The disk has no room for all of it, found before the first byte; or it fails.
            NotFoundError: The server has one no more.
            IntegrityError: What came is not what the digest names, three times.
            LinkError: The server is away; what came so far stays.
        """
        await run_blocking(lambda: self.check_room(plan))
        for item, ref in plan:
            await self._blob(release, item, ref)

    def check_room(self, plan: Plan) -> None:
        """Nothing, when the disk has room for a plan. Blocking.

        Raises:
            CapacityError: It has not.
        """
        needed_bytes = sum(
            max(0, ref.size_bytes - self._store.blobs.size_bytes(ref.digest)) for _, ref in plan
        )
        available_bytes = self._store.blobs.free_bytes() - self._disk_reserve_bytes
        if needed_bytes > available_bytes:
            raise CapacityError(
                f"The download needs {needed_bytes} bytes on the disk and {max(0, available_bytes)} are left"
                f" above the reserve of {self._disk_reserve_bytes}.",
                needed_bytes=needed_bytes,
                available_bytes=max(0, available_bytes),
                advice="Free some space on the store's disk.",
            )

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

    async def _blob(self, release: Release, item: Item, ref: BlobRef) -> None:
        for left in reversed(range(_TRIES)):
            size_bytes = await run_blocking(lambda: self._store.expect(release, item))
            try:
                if size_bytes < ref.size_bytes:
                    await self._stream(ref, size_bytes)
                await run_blocking(lambda: self._store.finish(ref))
            except (IntegrityError, InvalidInputError) as error:
                # InvalidInputError: a blob that is shorter at the server than its manifest says.
                _log.warning("Blob %s: %s", ref.digest[:12], error)
                if not left:
                    raise _as_integrity(error) from error
            else:
                self._on_progress()
                return

    async def _stream(self, ref: BlobRef, offset_bytes: int) -> None:
        """The partial blob has all its bytes; an end too early is an IntegrityError, too much is cut."""
        try:
            async with asyncio.timeout(self._deadline_seconds(ref.size_bytes - offset_bytes)):
                await self._receive(ref, offset_bytes)
        except TimeoutError as error:
            raise LinkError("The server sends too slowly to go on with it.") from error
        finally:
            await run_blocking(self._store.settle)

    async def _receive(self, ref: BlobRef, offset_bytes: int) -> None:
        async with aclosing(self._server.blob(ref.digest, offset_bytes=offset_bytes)) as chunks:
            async for chunk in chunks:
                fitting = chunk[: ref.size_bytes - offset_bytes]
                if fitting:
                    offset_bytes = await self._append(ref.digest, fitting)
                if len(chunk) > len(fitting):
                    await self._waste(ref.digest, len(chunk) - len(fitting))
                self._on_progress()
                await self._pacer.received(len(chunk))
                if offset_bytes >= ref.size_bytes:
                    return
        raise IntegrityError(
            f"Blob {ref.digest[:12]} ended after {offset_bytes} of {ref.size_bytes} bytes.",
            expected=str(ref.size_bytes),
            actual=str(offset_bytes),
        )

    async def _append(self, digest: str, data: bytes) -> int:
        return await run_blocking(lambda: self._store.append(digest, data))

    async def _waste(self, digest: str, count_bytes: int) -> None:
        """Received bytes that nobody can use are counted, if the disk takes the count."""
        with contextlib.suppress(CapacityError):
            await run_blocking(lambda: self._store.waste(digest, count_bytes))

    def _deadline_seconds(self, left_bytes: int) -> float:
        own = self._pacer.limit_bytes_per_second
        rate = min(_LEAST_BYTES_PER_SECOND, own / 2) if own else _LEAST_BYTES_PER_SECOND
        return _ALLOWANCE_SECONDS + left_bytes / rate


def _as_integrity(error: IntegrityError | InvalidInputError) -> IntegrityError:
    return error if isinstance(error, IntegrityError) else IntegrityError(error.message, advice=error.advice)
