"""Blobs straight from the object store where the server signs URLs, and from the server where that fails."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

import httpx

from common.clock import Clock, SystemClock
from common.errors import Error, LinkError
from device_agent.link.read_ahead import ReadAhead
from device_agent.link.server import Chunk, DeltaOffer, Wanted
from device_agent.link.signed_urls import SignedUrls, SigningLink
from device_agent.link.url_body import Patience, UrlError, UrlExpiredError, UrlUnfitError, body
from device_agent.store.records import Broker

_CONNECTIONS: Final = 4
_BATCH: Final = 256  # URLs asked for at once: few enough to be used before they expire
_TRIES: Final = 3
_FAILURES: Final = 3  # blobs in a row that the store did not give
_REST_SECONDS: Final = 600.0
_REMEMBERED: Final = 4096
_log = logging.getLogger(__name__)


class UrlLink:
    """A server that is asked for URLs first. Implements ``ServerLink``.

    A store that keeps failing is left alone for ten minutes. A blob that is wanted from its first byte again,
    after the store gave bytes of it, was refused by whoever got it, and comes from the server then.

    Args:
        server: Knows the URLs, and gives whatever cannot be had by one.
        patience: How long the store is waited for.
        clock: Tells for how long a failing store has been left alone.
    """

    def __init__(
        self, server: SigningLink, *, patience: Patience | None = None, clock: Clock | None = None
    ) -> None:
        self._server = server
        self._patience = patience or Patience()
        self._clock = clock or SystemClock()
        self._failures = 0
        self._rests_until_seconds = float("-inf")
        self._given: dict[str, None] = {}
        # They log every URL that is asked for, with its signature.
        for library in ("httpx", "httpcore"):
            logging.getLogger(library).setLevel(logging.WARNING)

    async def enrol(self, device_id: str, enrolment_key: bytes) -> Broker:
        """As the server does."""
        return await self._server.enrol(device_id, enrolment_key)

    async def manifest(self, digest: str) -> bytes:
        """As the server does."""
        return await self._server.manifest(digest)

    async def blobs(self, wanted: Sequence[Wanted]) -> AsyncGenerator[Chunk, None]:
        """Many blobs in the order given, each by the way that works; closing the generator ends them all."""
        done = 0
        while done < len(wanted) and not self._resting:
            batch = range(done, min(done + _BATCH, len(wanted)))
            urls = SignedUrls(self._server, [wanted[index].digest for index in batch])
            if not await _offered(urls):
                break
            async with aclosing(self._batch(wanted, batch, urls)) as chunks:
                async for chunk in chunks:
                    yield chunk
                    done += chunk.end
        if done < len(wanted):
            async with aclosing(self._by_server(wanted[done:], done)) as chunks:
                async for chunk in chunks:
                    yield chunk

    async def offer_deltas(
        self, wanted: str, held: str, blobs_per_block: Sequence[int], present_per_block: Sequence[int]
    ) -> Sequence[DeltaOffer]:
        """As the server does; the deltas themselves are blobs like any other."""
        return await self._server.offer_deltas(wanted, held, blobs_per_block, present_per_block)

    @property
    def _resting(self) -> bool:
        return self._clock.monotonic_seconds() < self._rests_until_seconds

    async def _batch(
        self, wanted: Sequence[Wanted], batch: Sequence[int], urls: SignedUrls
    ) -> AsyncGenerator[Chunk, None]:
        """Blobs of one batch; fewer than all when the store is left alone from one of them on."""
        by_url = [
            index for index in batch if wanted[index].digest in urls and not self._doubted(wanted[index])
        ]
        async with self._patience.client(_CONNECTIONS) as client:

            def start(index: int) -> AsyncGenerator[bytes, None]:
                return self._body(client, urls, wanted[index])

            async with ReadAhead(start, by_url, ahead=_CONNECTIONS) as bodies:
                for index in batch:
                    if self._resting:
                        return
                    chunks = (
                        self._by_url(wanted[index], index, bodies)
                        if index in by_url
                        else self._by_server(wanted[index : index + 1], index)
                    )
                    async with aclosing(chunks):
                        async for chunk in chunks:
                            yield chunk

    async def _by_url(self, one: Wanted, index: int, bodies: ReadAhead) -> AsyncGenerator[Chunk, None]:
        """A blob from the store; what it does not give comes from the server."""
        offset_bytes = one.offset_bytes
        try:
            async with aclosing(bodies.pieces(index)) as pieces:
                async for data in pieces:
                    self._remember(one.digest)
                    yield Chunk(index, data, offset_bytes, end=False)
                    offset_bytes += len(data)
        except UrlError as error:
            self._failed(one, error)
        else:
            self._failures = 0
            yield Chunk(index, b"", offset_bytes, end=True)
            return
        async with aclosing(self._by_server([Wanted(one.digest, offset_bytes)], index)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def _body(
        self, client: httpx.AsyncClient, urls: SignedUrls, one: Wanted
    ) -> AsyncGenerator[bytes, None]:
        """The blob's bytes, over as many connections as that takes, within bounds."""
        url, offset_bytes = urls[one.digest], one.offset_bytes
        for left in reversed(range(_TRIES)):
            begun_bytes = offset_bytes
            try:
                async with aclosing(body(client, url, offset_bytes, self._patience)) as pieces:
                    async for data in pieces:
                        offset_bytes += len(data)
                        yield data
            except UrlExpiredError:
                if not left:
                    raise
                url = await urls.renewed(one.digest, url)
            except UrlError:
                if not left or offset_bytes == begun_bytes:
                    raise
            else:
                urls.worked()
                return

    async def _by_server(self, wanted: Sequence[Wanted], first: int) -> AsyncGenerator[Chunk, None]:
        ended = 0
        async with aclosing(self._server.blobs(wanted)) as chunks:
            async for chunk in chunks:
                ended += chunk.end
                yield replace(chunk, index=first + chunk.index)
        if ended < len(wanted):
            raise LinkError("The server ended its stream too early.")

    def _doubted(self, one: Wanted) -> bool:
        if one.offset_bytes or one.digest not in self._given:
            return False
        del self._given[one.digest]
        return True

    def _remember(self, digest: str) -> None:
        self._given[digest] = None
        if len(self._given) > _REMEMBERED:
            del self._given[next(iter(self._given))]

    def _failed(self, one: Wanted, error: UrlError) -> None:
        _log.info("Blob %s comes from the server: %s", one.digest[:12], error.message)
        if one.offset_bytes and isinstance(error, UrlUnfitError):
            return  # says something about ranges, and nothing about other blobs
        self._failures += 1
        if self._failures >= _FAILURES:
            _log.warning("The blob store keeps failing, the server is asked instead: %s", error.message)
            self._failures = 0
            self._rests_until_seconds = self._clock.monotonic_seconds() + _REST_SECONDS


async def _offered(urls: SignedUrls) -> bool:
    try:
        return await urls.ask()
    except Error as error:
        # An earlier release, or one that is away: the server's own stream says so, if it is.
        _log.debug("No URLs: %s", error)
        return False
