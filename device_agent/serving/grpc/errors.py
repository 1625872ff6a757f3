"""Errors as gRPC tells them, by the one table."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NoReturn, TypeAlias

import grpc

from common.errors import Error
from common.rpc_status import to_status

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
_HIDDEN: Final = "An error inside the agent; its log says more."
_log = logging.getLogger(__name__)


@asynccontextmanager
async def told(context: Context) -> AsyncIterator[None]:
    """An ``Error`` within reaches the caller as it is; of anything else it learns that it happened."""
    try:
        yield
    except Error as error:
        await _abort(context, *to_status(error))
    except Exception as error:  # noqa: BLE001  # the last stop before the wire
        _log.error("a call failed", exc_info=error)
        await _abort(context, grpc.StatusCode.INTERNAL, _HIDDEN, ())


async def _abort(
    context: Context, status: grpc.StatusCode, message: str, trailers: tuple[tuple[str, str], ...]
) -> NoReturn:
    try:
        await context.abort(status, message, trailers)
    except grpc.aio.AbortError:
        raise
    except Exception as error:
        # gRPC has ended the call already: its deadline, or a message that is too large.
        raise asyncio.CancelledError from error
