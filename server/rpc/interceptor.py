"""Turns errors into gRPC statuses, once, for every method of ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, NoReturn

import grpc

from common.errors import Error, LinkError
from common.rpc_status import to_status

_OURS: Final = "/nestfleet."
_WRITE_SECONDS: Final = 60.0
_STATUS_SECONDS: Final = 1.0
_HIDDEN: Final = "The server failed; its log says why."
_log = logging.getLogger(__name__)


async def abort_with(
    context: grpc.aio.ServicerContext[Any, Any], error: Error, *, status: grpc.StatusCode | None = None
) -> NoReturn:
    """End the call with the status that stands for an error, or with a closer one; the trailer stays."""
    usual, message, trailers = to_status(error)
    await context.abort(status or usual, message, trailers)


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """An ``Error`` reaches the caller as it is; anything else is logged, and the caller learns only that.

    Args:
        write_seconds: How long a peer may leave a message of a stream unread before it is cut.
    """

    def __init__(self, *, write_seconds: float = _WRITE_SECONDS) -> None:
        self._write_seconds = write_seconds

    async def intercept_service(
        self, continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]], handler_call_details: Any
    ) -> Any:
        """The method's handler, wrapped when it is ours."""
        handler = await continuation(handler_call_details)
        if handler is None or not handler_call_details.method.startswith(_OURS):
            return handler
        return _wrapped(handler, handler_call_details.method, self._write_seconds)


def _wrapped(handler: Any, method: str, write_seconds: float) -> Any:
    if handler.response_streaming:
        make, inner = (
            (grpc.stream_stream_rpc_method_handler, handler.stream_stream)
            if handler.request_streaming
            else (grpc.unary_stream_rpc_method_handler, handler.unary_stream)
        )
        call: Any = _streaming(inner, method, write_seconds)
    else:
        make, inner = (
            (grpc.stream_unary_rpc_method_handler, handler.stream_unary)
            if handler.request_streaming
            else (grpc.unary_unary_rpc_method_handler, handler.unary_unary)
        )
        call = _single(inner, method)
    return make(call, handler.request_deserializer, handler.response_serializer)


def _single(inner: Any, method: str) -> Any:
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
        try:
            return await inner(request, context)
        except Exception as error:  # noqa: BLE001  # the last stop before the wire
            await _abort(context, error, method)

    return call


def _streaming(inner: Any, method: str, write_seconds: float) -> Any:
    # Writes by itself instead of yielding: a call that is cut then ends `inner` at once, with its clean-up.
    async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        try:
            async with contextlib.aclosing(inner(request, context)) as responses:
                async for response in responses:
                    async with asyncio.timeout(write_seconds):
                        await context.write(response)
        except TimeoutError:
            _log.info("%s: the peer reads nothing and is cut", method)
            await _cut(context)
        except Exception as error:  # noqa: BLE001  # the last stop before the wire
            await _abort(context, error, method)

    return call


async def _cut(context: grpc.aio.ServicerContext[Any, Any]) -> None:
    """End a call whose peer does not read; the status waits behind what is not read, nobody here for it."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_STATUS_SECONDS):
            await abort_with(context, LinkError("Nothing was read for too long."))


async def _abort(context: grpc.aio.ServicerContext[Any, Any], error: Exception, method: str) -> NoReturn:
    if context.cancelled():
        # Nobody is there to be told, and what failed is most likely the write.
        _log.info("%s: the peer is gone", method)
        raise error
    if isinstance(error, Error):
        _log.info("%s: %s", method, error)
        await abort_with(context, error)
    if isinstance(error, grpc.aio.AbortError):
        raise error
    _log.error("%s failed", method, exc_info=error)
    await context.abort(grpc.StatusCode.INTERNAL, _HIDDEN)
