"""One blob's bytes by HTTP, from an offset on. Whatever a store answers becomes bytes or an error of ours."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

import httpx

from common.errors import LinkError
from common.manifest import MAX_BLOB_BYTES

PIECE_BYTES: Final = 64 * 1024
_CONTENT_RANGE: Final = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_LENGTH: Final = re.compile(r"\d{1,18}")


class UrlError(LinkError):
    """The bytes cannot be had by this URL now."""


class UrlExpiredError(UrlError):
    """The store does not honour the signature, or not any more: another URL may do."""


class UrlUnfitError(UrlError):
    """The store is well, but does not have this blob, or not from this byte on."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a store is waited for.

    Attributes:
        connect_seconds: Until it takes the connection.
        idle_seconds: Without a byte.
        allowance_seconds: In all, on top of what the bytes take at ``least_bytes_per_second``.
        least_bytes_per_second: A store that drips is left.
    """

    connect_seconds: float = 10.0
    idle_seconds: float = 30.0
    allowance_seconds: float = 60.0
    least_bytes_per_second: int = 2048

    def client(self, connections: int) -> httpx.AsyncClient:
        """A client with so many connections, which follows no redirect: a signed URL leads where it leads."""
        return httpx.AsyncClient(
            timeout=httpx.Timeout(self.idle_seconds, connect=self.connect_seconds, pool=None),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            follow_redirects=False,
        )


async def body(
    client: httpx.AsyncClient, url: str, offset_bytes: int, patience: Patience
) -> AsyncGenerator[bytes, None]:
    """The bytes from the offset to the end of what the URL names, as many as the answer promises and no more.

    Raises:
        UrlError: They cannot be had, or not all of them; those that were given are what the store sent.
    """
    headers = {"Accept-Encoding": "identity"}
    if offset_bytes:
        headers["Range"] = f"bytes={offset_bytes}-"
    # Nothing of a foreign error is shown, nor chained: it may quote the URL, which is a secret.
    try:
        async with client.stream("GET", url, headers=headers) as response:
            expected_bytes = _expected_bytes(response, offset_bytes)
            async with aclosing(_pieces(response, expected_bytes, patience)) as pieces:
                async for piece in pieces:
                    yield piece
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
        raise UrlError(f"The blob store did not send a blob: {type(error).__name__}.") from None


async def _pieces(
    response: httpx.Response, expected_bytes: int, patience: Patience
) -> AsyncGenerator[bytes, None]:
    """Counts only the time in which the store is waited for: a slow reader is no slow store."""
    clock = asyncio.get_running_loop().time
    raw = response.aiter_raw(PIECE_BYTES)
    got_bytes, waited_seconds = 0, 0.0
    while got_bytes < expected_bytes:
        due_seconds = (got_bytes + PIECE_BYTES) / patience.least_bytes_per_second
        begun = clock()
        try:
            async with asyncio.timeout(patience.allowance_seconds + due_seconds - waited_seconds):
                piece = await anext(raw, b"")
        except TimeoutError:
            raise UrlError("The blob store sends too slowly to go on with it.") from None
        waited_seconds += clock() - begun
        if not piece:
            raise UrlError(f"The blob store ended a blob after {got_bytes} of {expected_bytes} bytes.")
        piece = piece[: expected_bytes - got_bytes]
        got_bytes += len(piece)
        yield piece


def _expected_bytes(response: httpx.Response, offset_bytes: int) -> int:
    """How many bytes the answer promises; they are those from the offset on."""
    status = response.status_code
    if status in {400, 401, 403}:
        raise UrlExpiredError(f"The blob store answered {status}.")
    if status in {404, 410, 416}:
        raise UrlUnfitError(f"The blob store answered {status}.")
    if status != (206 if offset_bytes else 200):
        # 200 to a range: all bytes from the first on, of which those that are here would cost a second time.
        error = UrlUnfitError if status in {200, 206} else UrlError
        raise error(f"The blob store answered {status}.")
    length = response.headers.get("content-length", "")
    if not _LENGTH.fullmatch(length) or "content-encoding" in response.headers:
        raise UrlUnfitError("The blob store does not say how long a blob is.")
    if offset_bytes + int(length) > MAX_BLOB_BYTES:
        raise UrlUnfitError(f"The blob store has {length} bytes, more than any blob.")
    if offset_bytes:
        _check_range(response.headers.get("content-range", ""), offset_bytes, int(length))
    return int(length)


def _check_range(text: str, offset_bytes: int, length_bytes: int) -> None:
    found = _CONTENT_RANGE.fullmatch(text)
    first, last = (int(found[1]), int(found[2])) if found else (-1, -1)
    if first != offset_bytes or last - first + 1 != length_bytes:
        raise UrlUnfitError("The blob store sent other bytes than those that were asked for.")
