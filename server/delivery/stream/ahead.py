"""Reads what is wanted before it is sent, so that disk and socket work at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final

from common.errors import Error, NotFoundError
from server.delivery.stream.pieces import Piece, Place, Shelf
from server.delivery.stream.queue import Want, WantQueue
from server.storage.port import BlobSlice

READ_BYTES: Final = 512 * 1024  # larger ones leave a processor's cache before they are sent
_BLOBS_AT_ONCE: Final = 64
_BATCHES: Final = 1


class ReadAhead:
    """Keeps a few batches of pieces in memory, many small blobs or some of a large one in each.

    Args:
        shelf: Where they come from.
        queue: What is wanted.
        on_news: Called when there is a batch, or a failure.

    Attributes:
        failure: Why reading ended; None while it goes on.
    """

    def __init__(self, shelf: Shelf, queue: WantQueue, on_news: Callable[[], None]) -> None:
        self._shelf = shelf
        self._queue = queue
        self._on_news = on_news
        self._demand = asyncio.Event()
        self._batches: deque[list[Piece]] = deque()
        self._begun: deque[tuple[Want, int]] = deque()
        self.failure: Exception | None = None

    def look(self) -> None:
        """More is wanted."""
        self._demand.set()

    def take(self) -> list[Piece]:
        """The next batch; nothing when none is there yet."""
        self._demand.set()
        return self._batches.popleft() if self._batches else []

    async def run(self) -> None:
        """Read until cancelled, or until it fails."""
        try:
            while True:
                self._begin()
                if self._begun and len(self._batches) < _BATCHES:
                    self._batches.append(await self._batch())
                    self._on_news()
                else:
                    self._demand.clear()
                    await self._demand.wait()
        except Exception as error:  # noqa: BLE001  # whoever sends has to tell the device
            self.failure = error
            self._on_news()

    def _begin(self) -> None:
        while len(self._begun) < _BLOBS_AT_ONCE and (want := self._queue.take()) is not None:
            self._begun.append((want, want.offset_bytes))

    async def _batch(self) -> list[Piece]:
        pieces: list[Piece] = []
        while self._begun and (piece := self._without_reading(*self._begun[0])) is not None:
            pieces.append(piece)
            self._begun.popleft()
        places: list[Place] = []
        for want, offset_bytes in self._begun:
            if self._without_reading(want, offset_bytes) is not None:
                break
            places.append(Place(want.digest, offset_bytes))
        if places:
            read = await self._shelf.read(places, limit_bytes=READ_BYTES)
            pieces.extend(self._piece(*self._begun.popleft(), found) for found in read)
        return pieces

    def _without_reading(self, want: Want, offset_bytes: int) -> Piece | None:
        """The end of a blob of which nothing is to be read; None for any other."""
        if self._queue.dropped(want):
            return Piece(want, b"", offset_bytes, end=True)
        if not want.offered:
            error = NotFoundError(
                f"No version names the blob {want.digest[:12]}.", advice="Fetch the newest manifest again."
            )
            return Piece(want, b"", offset_bytes, end=True, error=error)
        return None

    def _piece(self, want: Want, offset_bytes: int, found: BlobSlice | Error) -> Piece:
        if isinstance(found, Error):
            return Piece(want, b"", offset_bytes, end=True, error=found)
        next_bytes = offset_bytes + len(found.data)
        end = next_bytes >= found.size_bytes
        if not end:
            self._begun.appendleft((want, next_bytes))
        return Piece(want, found.data, offset_bytes, end=end)
