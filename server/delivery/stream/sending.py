"""One stream of blobs: takes in what the device says, gives out what to send it, never too far ahead."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from typing import Final

from common.errors import LinkError
from common.rate_floor import RateFloor
from server.delivery.stream.ahead import ReadAhead
from server.delivery.stream.pieces import Part, Piece, Shelf
from server.delivery.stream.queue import WantQueue
from server.delivery.stream.window import Window

IDLE_SECONDS: Final = 60.0
_LEAST_BYTES_PER_SECOND: Final = 512


class BlobStream:
    """Many blobs to one device. Memory is bounded: a batch read ahead and one being sent.

    Args:
        shelf: Where blobs come from.
        idle_seconds: How long a device may want nothing, or take nothing, before the stream ends.
        now_seconds: A clock that never goes back.
    """

    def __init__(
        self,
        shelf: Shelf,
        *,
        idle_seconds: float = IDLE_SECONDS,
        now_seconds: Callable[[], float] = time.monotonic,
    ) -> None:
        self._shelf = shelf
        self._idle_seconds = idle_seconds
        self._now_seconds = now_seconds
        self._queue = WantQueue()
        self._window = Window(now_seconds())
        self._floor = RateFloor(_LEAST_BYTES_PER_SECOND, idle_seconds)
        self._news = asyncio.Event()
        self._ahead = ReadAhead(shelf, self._queue, self._news.set)
        self._over = False
        self._failure: Exception | None = None

    @property
    def ahead_bytes(self) -> int:
        """Bytes that are sent, and not taken as far as the device has said."""
        return self._window.ahead_bytes

    async def want(self, wanted: Sequence[tuple[str, int]]) -> None:
        """The device wants these, digest and first byte of each, after all others.

        Raises:
            InvalidInputError: They are too many.
        """
        self._queue.check(len(wanted))
        if any(offset_bytes for _, offset_bytes in wanted):
            self._window.be_careful()
        self._queue.add(wanted, await self._shelf.offered({digest for digest, _ in wanted}))
        self._ahead.look()

    def cancel(self, digests: Sequence[str]) -> None:
        """The device wants these no more."""
        self._queue.cancel(frozenset(digests))

    def took(self, taken_bytes: int) -> None:
        """The device has taken so many bytes in all.

        Raises:
            InvalidInputError: That cannot be.
        """
        self._floor.received(self._window.took(taken_bytes, self._now_seconds()))
        self._news.set()

    def no_more_words(self, failure: Exception | None = None) -> None:
        """The device says nothing more; with a failure, what it said last cannot be answered."""
        self._failure = failure
        self._over = True
        self._window.no_more_words()
        self._news.set()

    async def parts(self) -> AsyncGenerator[Part, None]:
        """What to send, until the device wants nothing more.

        Raises:
            LinkError: The device takes nothing, or too slowly; or the store is away.
            Error: What ``no_more_words`` was told.
        """
        reading = asyncio.create_task(self._ahead.run())
        try:
            while batch := await self._next_batch():
                for piece in batch:
                    async for part in self._cut(piece):
                        yield part
                    if piece.end:
                        self._queue.ended(piece.want)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _next_batch(self) -> list[Piece]:
        """Nothing once the stream is over: the device wants nothing more, or has long wanted nothing."""
        while not (batch := self._ahead.take()):
            self._raise_failure()
            idle = self._queue.idle
            if idle and self._over:
                return []
            if not await self._wait(self._idle_seconds if idle else None):
                return []
        return batch

    async def _cut(self, piece: Piece) -> AsyncGenerator[Part, None]:
        start, stop, index = 0, len(piece.data), piece.want.index
        while start < stop and not self._queue.dropped(piece.want):
            count_bytes = min(self._window.chunk_bytes, stop - start)
            await self._room_for(count_bytes)
            data = piece.data if count_bytes == stop else piece.data[start : start + count_bytes]
            self._window.sent(count_bytes, self._now_seconds())
            last = piece.end and start + count_bytes == stop
            yield Part(index, data, piece.offset_bytes + start, last)
            start += count_bytes
        if not stop and not self._queue.dropped(piece.want):
            yield Part(index, b"", piece.offset_bytes, piece.end, piece.error)

    async def _room_for(self, count_bytes: int) -> None:
        while not self._window.has_room(count_bytes):
            began = self._now_seconds()
            heard = await self._wait(self._floor.left_seconds)
            self._floor.waited(self._now_seconds() - began)
            if not heard or not self._floor.left_seconds:
                raise LinkError("The device takes what it wanted too slowly, or not at all.")

    async def _wait(self, seconds: float | None) -> bool:
        """Whether something has happened in time.

        Raises:
            Error: What happened is a failure.
        """
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        self._news.clear()
        self._raise_failure()
        return True

    def _raise_failure(self) -> None:
        failure = self._failure or self._ahead.failure
        if failure is not None:
            raise failure
