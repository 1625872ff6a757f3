"""What a device says and hears on a stream of many blobs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from itertools import islice
from typing import Final

import grpc
from nestfleet.v1 import delivery_pb2

from common.digest import to_wire
from common.errors import LinkError
from device_agent.link.server import Chunk, Wanted
from device_agent.link.trouble import meant_by_code

_NAMED_AT_ONCE: Final = 1024
_NAMED_AHEAD: Final = 4096  # named and not ended; far below what a server lets wait
# What is worth a word at once, and how long less than that may wait for one: a server that hears every 5 ms
# can judge the rate, and one word costs both ends about what sending 100 KiB does.
_WORTH_A_WORD_BYTES: Final = 2 * 1024 * 1024
_WAIT_SECONDS: Final = 0.005
_Call = grpc.aio.StreamStreamCall[delivery_pb2.FetchBlobsRequest, delivery_pb2.FetchBlobsResponse]


class Conversation:
    """Names blobs some way ahead, checks the order of what comes, and tells the server what was taken.

    Words are written by a task of their own: nothing that is read waits until something is written.

    Args:
        call: The stream.
        wanted: The blobs, in order.
    """

    def __init__(self, call: _Call, wanted: Sequence[Wanted]) -> None:
        self._call = call
        self._wanted = wanted
        self._unnamed = iter(wanted)
        self._named = 0
        self._index = 0
        self._next_byte = wanted[0].offset_bytes if wanted else 0
        self._taken_bytes = 0
        self._told_bytes = 0
        self._news = asyncio.Event()

    async def chunks(self, chunk_seconds: float) -> AsyncGenerator[Chunk, None]:
        """All that comes, until the last blob has ended.

        Raises:
            LinkError: The stream ended too early, or the server keeps no order.
            TimeoutError: Nothing came for so long.
            AioRpcError: The stream broke.
        """
        self._news.set()
        talking = asyncio.create_task(self._talk())
        try:
            while self._index < len(self._wanted):
                async with asyncio.timeout(chunk_seconds):
                    answer = await self._call.read()
                if not isinstance(answer, delivery_pb2.FetchBlobsResponse):
                    await self._ended_early()
                    return
                chunk = self._checked(answer)
                yield chunk
                self._taken_bytes += len(chunk.data)
                self._news.set()
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)

    def _checked(self, answer: delivery_pb2.FetchBlobsResponse) -> Chunk:
        """The message as a chunk; it is the one that is due.

        Raises:
            LinkError: It is not.
        """
        data = answer.data  # every look at this field copies it
        index, offset_bytes = self._index, self._next_byte
        if answer.index != index or (data and answer.offset_bytes != offset_bytes):
            raise LinkError(
                f"The server sent byte {answer.offset_bytes} of blob {answer.index}"
                f" where byte {offset_bytes} of blob {index} was due."
            )
        if not data and not answer.end:
            raise LinkError("The server sent a message with nothing in it.")
        if not answer.end:
            self._next_byte += len(data)
            return Chunk(index, data, offset_bytes, end=False)
        self._index += 1
        self._next_byte = self._wanted[self._index].offset_bytes if self._index < len(self._wanted) else 0
        error = meant_by_code(answer.error_code, answer.error_detail) if answer.error_code else None
        return Chunk(index, data, offset_bytes, end=True, error=error)

    async def _ended_early(self) -> None:
        code = await self._call.code()
        if code is grpc.StatusCode.OK:
            raise LinkError("The server ended the stream before the last blob.")
        # Reading on raises what the stream broke with.
        await self._call.read()
        raise LinkError(f"The server ended a stream with {code.name}.")

    async def _talk(self) -> None:
        """Write when there is something to say; a stream that broke is told by whoever reads."""
        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
            while True:
                await self._news.wait()
                self._news.clear()
                if 0 < self._untold_bytes < _WORTH_A_WORD_BYTES and not self._can_name:
                    await asyncio.sleep(_WAIT_SECONDS)
                word = self._word()
                if word is not None:
                    await self._call.write(word)

    @property
    def _untold_bytes(self) -> int:
        return self._taken_bytes - self._told_bytes

    @property
    def _can_name(self) -> bool:
        ahead = self._named - self._index
        return self._named < len(self._wanted) and ahead + _NAMED_AT_ONCE <= _NAMED_AHEAD

    def _word(self) -> delivery_pb2.FetchBlobsRequest | None:
        """The next message; None when there is nothing to say."""
        some = list(islice(self._unnamed, _NAMED_AT_ONCE)) if self._can_name else []
        self._named += len(some)
        if not some and not self._untold_bytes:
            return None
        self._told_bytes = self._taken_bytes
        return delivery_pb2.FetchBlobsRequest(
            want=[
                delivery_pb2.WantedBlob(digest=to_wire(one.digest), offset_bytes=one.offset_bytes)
                for one in some
            ],
            taken_bytes=self._taken_bytes,
        )
