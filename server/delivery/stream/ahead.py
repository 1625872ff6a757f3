"""Reads what is wanted before it is sent, so that disk and socket work at the same time."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from common.errors import Error, NotFoundError
from server.delivery.stream.pieces import Piece, Place, Shelf
from server.delivery.stream.queue import Want, WantQueue
from server.storage.port import BlobSlice

READ_BYTES: Final = 512 * 1024  # larger ones leave a processor's cache before they are sent
_BLOBS_AT_ONCE: Final = 64


class ReadAhead:
    """Pieces of what is wanted, many small blobs or some of a large one in a batch.

    What is in memory already is taken at the moment at which it is sent: read ahead, it would have left the
    processor's caches by then. From the first that is not, a task reads one batch ahead.

    Args:
        shelf: Where they come from.
        queue: What is wanted.
        on_news: Called when there is something to take, or a failure.

    Attributes:
        failure: Why reading ended; None while it goes on.
    """

    def __init__(self, shelf: Shelf, queue: WantQueue, on_news: Callable[[], None]) -> None:
        self._shelf = shelf
        self._queue = queue
        self._on_news = on_news
        self._begun: deque[tuple[Want, int]] = deque()
        self._ready: deque[list[Piece]] = deque()
        self._demand = asyncio.Event()
        self._room = asyncio.Event()
        self._blobs_at_once = 2
        self.failure: Exception | None = None

    def take(self) -> list[Piece]:
        """The next batch; nothing when none is there yet, and ``on_news`` is called once there is."""
        if self._ready:
            self._room.set()
            return self._ready.popleft()
        if self._demand.is_set():
            return []
        pieces = self._without_reading()
        places = self._places()
        if places and not pieces:
            pieces = self._read(self._shelf.read_at_once(places, limit_bytes=READ_BYTES))
            if not pieces:
                self._demand.set()
        return pieces

    async def run(self) -> None:
        """Read what has to be waited for, until cancelled or until that fails."""
        try:
            while True:
                await self._demand.wait()
                pieces = self._without_reading()
                places = self._places()
                if places:
                    pieces += self._read(await self._shelf.read(places, limit_bytes=READ_BYTES))
                if pieces:
                    self._ready.append(pieces)
                    self._on_news()
                    await self._until_taken()
                else:
                    self._demand.clear()
        except Exception as error:  # noqa: BLE001  # whoever sends has to tell the device
            self.failure = error
            self._on_news()

    async def _until_taken(self) -> None:
        while self._ready:
            self._room.clear()
            await self._room.wait()

    def _without_reading(self) -> list[Piece]:
        """The ends of those next blobs of which nothing is to be read; the first to be read is under way."""
        pieces: list[Piece] = []
        while True:
            self._begin()
            piece = self._end(*self._begun[0]) if self._begun else None
            if piece is None or len(pieces) == _BLOBS_AT_ONCE:
                return pieces
            pieces.append(piece)
            self._begun.popleft()

    def _begin(self) -> None:
        while len(self._begun) < self._blobs_at_once and (want := self._queue.take()) is not None:
            self._begun.append((want, want.offset_bytes))

    def _places(self) -> list[Place]:
        """Where to read next: as many blobs as may fit, by how many did the last time."""
        places: list[Place] = []
        for want, offset_bytes in self._begun:
            if self._end(want, offset_bytes) is not None:
                break
            places.append(Place(want.digest, offset_bytes))
        return places

    def _read(self, found: Sequence[BlobSlice | Error]) -> list[Piece]:
        pieces = [self._piece(*self._begun.popleft(), one) for one in found]
        if pieces:
            self._blobs_at_once = min(2 * len(pieces), _BLOBS_AT_ONCE)
        return pieces

    def _end(self, want: Want, offset_bytes: int) -> Piece | None:
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
