"""What an object store can do to those who rely on it: a proxy in front of one, and its faults by name."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit

import httpx

_HOP: Final = {"connection", "transfer-encoding", "keep-alive", "host"}


@dataclass(frozen=True, slots=True)
class Request:
    """What came.

    Attributes:
        signed: Whether it came by a signed URL, as a device's does, and not with the server's credentials.
    """

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def signed(self) -> bool:
        return "X-Amz-Signature=" in self.target


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back.

    Attributes:
        keep_bytes: The connection ends after so many bytes of the body.
        piece_bytes: The body goes in such pieces, with a pause after each; 0: at once.
        silent: Nothing at all is said.
        endless: Nobody is told how long the body is, and it never ends.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    keep_bytes: int | None = None
    piece_bytes: int = 0
    silent: bool = False
    endless: bool = False


class Fault:
    """None: everything passes. A fault that hits ``by_url`` alone leaves the server's own way to the store.

    Args:
        by_url: Only requests by a signed URL are hit.
        times: How many are hit; None: all.
    """

    def __init__(self, *, by_url: bool = False, times: int | None = None) -> None:
        self._by_url = by_url
        self.times = times

    def hits(self, request: Request) -> bool:
        """Whether this request is one of those; counts it."""
        if (self._by_url and not request.signed) or self.times == 0 or not self.concerns(request):
            return False
        if self.times is not None:
            self.times -= 1
        return True

    def concerns(self, request: Request) -> bool:
        return request.method == "GET"

    def asked(self, request: Request) -> Request | None:
        """The request as it goes on to the store; None: the store hears nothing of it."""
        return request

    def spoilt(self, answer: Answer) -> Answer:
        """The answer as it goes back."""
        return answer


class Answering(Fault):
    """Every request is answered with one status."""

    def __init__(self, status: int, *, by_url: bool = False, times: int | None = None) -> None:
        super().__init__(by_url=by_url, times=times)
        self._status = status

    def concerns(self, request: Request) -> bool:  # noqa: ARG002  every one
        return True

    def asked(self, request: Request) -> Request | None:  # noqa: ARG002  whatever it is
        return None

    def spoilt(self, answer: Answer) -> Answer:  # noqa: ARG002  there is none
        # What S3 says too: a redirect that somebody might follow.
        headers = {"location": "http://127.0.0.1:1/elsewhere"} if 300 <= self._status < 400 else {}
        return Answer(self._status, headers, b"<Error><Code>AsTold</Code></Error>")


class Expired(Answering):
    """Signed URLs are not honoured any more."""

    def __init__(self, *, times: int | None = None) -> None:
        super().__init__(403, by_url=True, times=times)


class ReadOnly(Answering):
    """The server may read, and change nothing."""

    def __init__(self) -> None:
        super().__init__(403)

    def concerns(self, request: Request) -> bool:
        return request.method not in {"GET", "HEAD"}


class Full(ReadOnly):
    """There is no room for anything new."""

    def __init__(self) -> None:
        super().__init__()
        self._status = 507


class WrongBytes(Fault):
    """One bit of every body is another one."""

    def spoilt(self, answer: Answer) -> Answer:
        return replace(answer, body=answer.body[:-1] + bytes([answer.body[-1] ^ 1]))


class Truncated(Fault):
    """The connection ends in the middle of a body."""

    def spoilt(self, answer: Answer) -> Answer:
        return replace(answer, keep_bytes=len(answer.body) // 2)


class Shortened(Fault):
    """The object lost its end, and the store knows nothing of it."""

    def spoilt(self, answer: Answer) -> Answer:
        return replace(answer, status=200, headers={}, body=answer.body[: len(answer.body) // 2])


class TooLong(Fault):
    """The object has more bytes than the blob."""

    def spoilt(self, answer: Answer) -> Answer:
        return replace(answer, headers={}, body=answer.body + b"?" * 1000)


class Endless(Fault):
    """The body has no end, and nobody says how long it is."""

    def spoilt(self, answer: Answer) -> Answer:
        return replace(answer, endless=True)


class Dripping(Fault):
    """A byte now and then."""

    def spoilt(self, answer: Answer) -> Answer:
        return replace(answer, piece_bytes=1)


class Silent(Fault):
    """The connection is taken, and nothing is said."""

    def spoilt(self, answer: Answer) -> Answer:
        return replace(answer, silent=True)


class IgnoringRanges(Fault):
    """Every body begins at the first byte."""

    def asked(self, request: Request) -> Request | None:
        headers = {name: value for name, value in request.headers.items() if name != "range"}
        return replace(request, headers=headers)


class ShiftingRanges(Fault):
    """The bytes are not those that were asked for."""

    def asked(self, request: Request) -> Request | None:
        return replace(request, headers=request.headers | {"range": "bytes=0-9"})


class Zipped(Fault):
    """The body is said to be compressed, as a careless cache does it."""

    def spoilt(self, answer: Answer) -> Answer:
        return replace(answer, headers=answer.headers | {"content-encoding": "gzip"})


@dataclass
class StoreProxy:
    """A store with faults on order.

    Attributes:
        url: The endpoint to reach it by.
        fault: What it does to requests from now on.
        seen: Every request so far.
    """

    url: str
    fault: Fault = field(default_factory=Fault)
    seen: list[Request] = field(default_factory=list)

    @property
    def by_url(self) -> list[Request]:
        return [request for request in self.seen if request.signed]


@asynccontextmanager
async def faulty_store(endpoint: str) -> AsyncIterator[StoreProxy]:
    """A proxy in front of an S3-compatible store, in this event loop."""
    tasks: set[asyncio.Task[None]] = set()
    async with httpx.AsyncClient(base_url=endpoint, timeout=20) as store:
        proxy = StoreProxy("")

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                while await _exchange(proxy, store, reader, writer):
                    pass
            writer.close()
            tasks.discard(task)

        server = await asyncio.start_server(talk, "127.0.0.1", 0)
        proxy.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield proxy
        finally:
            server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _exchange(
    proxy: StoreProxy, store: httpx.AsyncClient, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> bool:
    """One request and its answer; whether the connection can go on."""
    request = await _read(reader)
    proxy.seen.append(request)
    fault = proxy.fault if proxy.fault.hits(request) else Fault()
    going_on = fault.asked(request)
    answer = fault.spoilt(await _forwarded(store, going_on) if going_on else Answer(500))
    if answer.silent:
        await asyncio.Event().wait()
    return await _write(writer, request, answer)


async def _read(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    headers = {}
    for line in head[1:-2]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Request(method, urlsplit(target)._replace(scheme="", netloc="").geturl(), headers, body)


async def _forwarded(store: httpx.AsyncClient, request: Request) -> Answer:
    headers = {name: value for name, value in request.headers.items() if name not in _HOP}
    found = await store.request(request.method, request.target, headers=headers, content=request.body)
    kept = {name.lower(): value for name, value in found.headers.items() if name.lower() not in _HOP}
    return Answer(found.status_code, kept, found.content)


async def _write(writer: asyncio.StreamWriter, request: Request, answer: Answer) -> bool:
    headers = dict(answer.headers)
    if answer.endless:
        headers.pop("content-length", None)
        headers["transfer-encoding"] = "chunked"
    elif request.method != "HEAD":
        headers["content-length"] = str(len(answer.body))
    lines = [f"HTTP/1.1 {answer.status} As told", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    while answer.endless:
        writer.write(b"400\r\n" + b"?" * 1024 + b"\r\n")
        await writer.drain()
    if request.method != "HEAD":
        await _write_body(writer, answer)
    await writer.drain()
    return answer.keep_bytes is None


async def _write_body(writer: asyncio.StreamWriter, answer: Answer) -> None:
    body = answer.body[: answer.keep_bytes]
    if not answer.piece_bytes:
        writer.write(body)
        return
    for start in range(0, len(body), answer.piece_bytes):
        writer.write(body[start : start + answer.piece_bytes])
        await writer.drain()
        await asyncio.sleep(0.02)
