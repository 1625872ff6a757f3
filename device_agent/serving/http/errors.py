"""Errors as HTTP tells them: a status, and ``{"error": ...}``."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from common.errors import CapacityError, Error, InvalidInputError, LinkError, NotFoundError
from device_agent.serving.refusals import TooLargeError, TooSlowError

_log: Final = logging.getLogger(__name__)
UNAVAILABLE: Final = 503
_RETRY_SECONDS: Final = "1"
# The first that fits.
_STATUS: Final[tuple[tuple[type[Error], int], ...]] = (
    (TooLargeError, 413),
    (TooSlowError, 408),
    (InvalidInputError, 400),
    (NotFoundError, 404),
    (CapacityError, UNAVAILABLE),
    (LinkError, UNAVAILABLE),
)


def error_response(status: int, message: str, *, close: bool = False) -> Response:
    """An error's response; one that is worth another try says so.

    Args:
        status: HTTP's.
        message: For people.
        close: Whether the connection ends with it.
    """
    headers = {"Retry-After": _RETRY_SECONDS} if status == UNAVAILABLE else {}
    if close:
        headers["Connection"] = "close"
    return JSONResponse({"error": message}, status_code=status, headers=headers)


async def _on_error(_: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return error_response(status, str(error))


async def _on_http_error(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    return error_response(status, getattr(error, "detail", ""))


async def _on_surprise(_: Request, error: Exception) -> Response:
    _log.error("a request failed", exc_info=error)
    return error_response(500, "An error inside the agent; its log says more.")


HANDLERS: Final[Mapping[Any, Callable[[Request, Exception], Awaitable[Response]]]] = {
    Error: _on_error,
    HTTPException: _on_http_error,
    Exception: _on_surprise,
}
