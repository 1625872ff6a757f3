"""Reads the message of a call: few at a time, within a time.

gRPC reads a message before a servicer hears of the call, as many at once as there are calls, each as large
as any may be. Here a call is heard of first, and its message is read when there is a place for that; until
then HTTP/2's flow control holds the sender back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import grpc
from google.protobuf.message import DecodeError

from common.errors import InvalidInputError
from device_agent.serving.grpc.errors import Context, told
from device_agent.serving.off_loop import OffLoop
from device_agent.serving.refusals import BusyError, TooSlowError

_READS: Final = 8
READ_SECONDS: Final = 30.0


class Reading(grpc.aio.ServerInterceptor):
    """Stands before every method, all of which take one message and give one.

    Args:
        off_loop: Where large messages are parsed.
        read_seconds: How long one may take to come; twice that it waits for a place to be read.
    """

    def __init__(self, off_loop: OffLoop, *, read_seconds: float = READ_SECONDS) -> None:
        self._off_loop = off_loop
        self._read_seconds = read_seconds
        self._places = asyncio.Semaphore(_READS)

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """The method's handler, which reads by itself."""
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        parse, answer = handler.request_deserializer, handler.unary_unary

        async def call(_: Any, context: Context) -> Any:
            async with told(context):
                return await answer(await self._read(parse, context), context)

        # On the wire a call with one message is a stream with one message.
        return grpc.stream_unary_rpc_method_handler(call, None, handler.response_serializer)

    async def _read(self, parse: Callable[[bytes], Any], context: Context) -> Any:
        try:
            async with asyncio.timeout(2 * self._read_seconds):
                await self._places.acquire()
        except TimeoutError as error:
            raise BusyError("Too many requests are being read.", advice="Ask again later.") from error
        try:
            async with asyncio.timeout(self._read_seconds):
                data = await context.read()
        except TimeoutError as error:
            raise TooSlowError("The request did not come to its end.") from error
        finally:
            self._places.release()
        if data is grpc.aio.EOF:
            raise InvalidInputError("The call came without a message.")
        try:
            return await self._off_loop.run(lambda: parse(data), len(data))
        except DecodeError as error:
            raise InvalidInputError("The message is none of this call.") from error
