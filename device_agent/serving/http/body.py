"""A request's body: read within limits, and inflated within limits."""

from __future__ import annotations

import asyncio
import zlib
from typing import Final

from starlette.requests import ClientDisconnect, Request

from common.errors import InvalidInputError
from device_agent.serving.allowance import Claim
from device_agent.serving.protocol.limits import MAX_JSON_BYTES, MAX_REQUEST_BYTES
from device_agent.serving.refusals import TooLargeError, TooSlowError

JSON_BYTES_HEADER: Final = "Inference-Header-Content-Length"
_BODY_SECONDS: Final = 60.0
_STEP_BYTES: Final = 1024 * 1024
_LENGTH_DIGITS: Final = 10
# zlib's window sizes; 16 more stand for gzip's frame.
_WINDOW_BITS: Final = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}


def read_json_bytes(request: Request) -> int | None:
    """How much of the body is JSON, once it is inflated; None for all.

    Raises:
        InvalidInputError: The header is no number.
    """
    text = request.headers.get(JSON_BYTES_HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _LENGTH_DIGITS):
        raise InvalidInputError(f"{JSON_BYTES_HEADER} is no count of bytes: {text[:40]!r}.")
    return int(text)


def read_encoding(request: Request) -> str:
    """How the body is compressed: "gzip", "deflate", or "" for not at all.

    Raises:
        InvalidInputError: In a way that is not spoken.
    """
    encoding = request.headers.get("Content-Encoding", "").strip().lower()
    if encoding not in {"", "identity", *_WINDOW_BITS}:
        raise InvalidInputError(
            f"The body is compressed as {encoding[:40]!r}.", advice=f"Spoken are {', '.join(_WINDOW_BITS)}."
        )
    return encoding if encoding in _WINDOW_BITS else ""


async def read_body(request: Request, claim: Claim, *, is_json: bool) -> bytes:
    """The body as it came, refused at the first byte too much, whatever its header says.

    Args:
        request: Whose.
        claim: Grows with it.
        is_json: Whether all of it is JSON, uncompressed, which may be less.

    Raises:
        TooLargeError: It is larger than any may be.
        TooSlowError: It did not come to its end in time.
        BusyError: Requests hold too much already.
    """
    limit_bytes = MAX_JSON_BYTES if is_json else MAX_REQUEST_BYTES
    _check_size(int(request.headers.get("Content-Length", 0)), limit_bytes)
    body = bytearray()
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                _check_size(len(body) + len(chunk), limit_bytes)
                claim.add(len(chunk))
                body += chunk
    except (TimeoutError, ClientDisconnect) as error:
        raise TooSlowError("The request did not come to its end.") from error
    return bytes(body)


def inflate(body: bytes, encoding: str, claim: Claim) -> bytes:
    """A body that was compressed, refused as soon as it grows too large.

    Args:
        body: As it came.
        encoding: As ``read_encoding`` gives it.
        claim: Grows with what comes out.

    Raises:
        InvalidInputError: It is not compressed so, or only in part.
        TooLargeError: It is larger than any may be.
        BusyError: Requests hold too much already.
    """
    if not encoding:
        return body
    stream = zlib.decompressobj(_WINDOW_BITS[encoding])
    inflated, rest = bytearray(), body
    try:
        while not stream.eof:
            piece = stream.decompress(rest, _STEP_BYTES)
            _check_size(len(inflated) + len(piece), MAX_REQUEST_BYTES)
            claim.add(len(piece))
            inflated += piece
            rest = stream.unconsumed_tail
            if not rest and not piece:
                break
    except zlib.error as error:
        raise InvalidInputError(f"The body is no {encoding}: {error}.") from error
    if not stream.eof or stream.unused_data:
        raise InvalidInputError(f"The body is not one whole {encoding} stream.")
    return bytes(inflated)


def _check_size(size_bytes: int, limit_bytes: int) -> None:
    if size_bytes > limit_bytes:
        advice = "" if limit_bytes == MAX_REQUEST_BYTES else "Send values as binary data."
        raise TooLargeError(f"Such a request has at most {limit_bytes} bytes.", advice=advice)
