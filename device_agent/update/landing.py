"""Received bytes on their way to the disk: some gather in memory while those before them are written."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from typing import Final

from common.errors import CapacityError, IntegrityError
from common.manifest import BlobRef
from device_agent.blocking import run_blocking, to_the_end
from device_agent.store.store import Store

_GATHERED_BYTES: Final = 2 * 1024 * 1024
_GATHERED_BLOBS: Final = 256


class Landing:
    """Writes batch after batch, whatever gathered meanwhile in one; so small blobs share what a sync costs.

    Args:
        store: Where they go.
        on_written: Called after every batch.
    """

    def __init__(self, store: Store, on_written: Callable[[], None]) -> None:
        self._store = store
        self._on_written = on_written
        self._batch = _Batch()
        self._writing: asyncio.Task[None] | None = None
        self._wrong: dict[str, IntegrityError] = {}

    @property
    def wrong(self) -> Mapping[str, IntegrityError]:
        """Digest to what is the matter with a blob that came whole, and is gone."""
        return self._wrong

    async def take(self, digest: str, data: bytes) -> None:
        """The bytes will be at the blob's end; returns once there is room for more.

        Raises:
            CapacityError: The disk does not take what came before.
        """
        self._batch.add(digest, data)
        await self._go_on()

    async def complete(self, ref: BlobRef) -> None:
        """All bytes of the blob have come: it will be verified, and durable.

        Raises:
            CapacityError: The disk does not take what came before.
        """
        self._batch.complete[ref.digest] = ref
        await self._go_on()

    async def settle(self) -> None:
        """All that was taken is on the disk, or counted as wasted; cancelling waits for that.

        Raises:
            CapacityError: The disk does not take it.
        """
        await to_the_end(asyncio.ensure_future(self._settle()))

    async def _settle(self) -> None:
        try:
            while self._writing is not None or self._batch:
                await self._written()
                self._start()
        finally:
            if self._batch:
                batch, self._batch = self._batch, _Batch()
                await run_blocking(lambda: _waste(self._store, batch))

    async def _go_on(self) -> None:
        if self._writing is not None and self._writing.done():
            await self._written()
        self._start()
        while self._batch.full:
            await self._written()
            self._start()

    def _start(self) -> None:
        if self._writing is None and self._batch:
            batch, self._batch = self._batch, _Batch()
            self._writing = asyncio.create_task(self._write(batch))

    async def _written(self) -> None:
        """The batch that is being written is on the disk; cancelling waits for that too."""
        writing = self._writing
        if writing is None:
            return
        try:
            await to_the_end(writing)
        finally:
            self._writing = None

    async def _write(self, batch: _Batch) -> None:
        self._wrong |= await run_blocking(lambda: _write(self._store, batch))
        self._on_written()


class _Batch:
    """Some bytes of some blobs."""

    def __init__(self) -> None:
        self.data: dict[str, list[bytes]] = {}
        self.complete: dict[str, BlobRef] = {}
        self.size_bytes = 0

    def __bool__(self) -> bool:
        return bool(self.data or self.complete)

    @property
    def full(self) -> bool:
        return self.size_bytes >= _GATHERED_BYTES or len(self.complete) >= _GATHERED_BLOBS

    def add(self, digest: str, data: bytes) -> None:
        self.data.setdefault(digest, []).append(data)
        self.size_bytes += len(data)


def _write(store: Store, batch: _Batch) -> dict[str, IntegrityError]:
    """Every byte of the batch is on the disk or counted; complete blobs are durable, or named as wrong."""
    try:
        for digest in list(batch.data):
            _append(store, batch, digest)
        return store.finish(list(batch.complete.values()))
    except CapacityError:
        _waste(store, batch)
        raise
    finally:
        store.settle()


def _append(store: Store, batch: _Batch, digest: str) -> None:
    """The bytes are on the disk and not in the batch any more; where the disk is full, some of them."""
    data = b"".join(batch.data[digest])
    before_bytes = store.blobs.size_bytes(digest)
    try:
        store.append(digest, data)
    except CapacityError:
        batch.data[digest] = [data[store.blobs.size_bytes(digest) - before_bytes :]]
        raise
    del batch.data[digest]


def _waste(store: Store, batch: _Batch) -> None:
    """What came and is nowhere is counted, if the disk takes the count."""
    with contextlib.suppress(CapacityError):
        for digest, data in batch.data.items():
            store.waste(digest, sum(map(len, data)))
