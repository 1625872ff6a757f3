"""Blobs by signed URL, through every fault of a store; the server's stream is the other way."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

import pytest

from common.digest import sha256_hex
from common.errors import InvalidInputError, LinkError, NotFoundError
from device_agent.link.server import Chunk, DeltaOffer, Wanted
from device_agent.link.url_body import Patience
from device_agent.link.url_link import UrlLink
from device_agent.store.records import Broker
from server.storage.object_store import open_blob_store
from server.storage.port import BlobStore
from tests.support import moto
from tests.support.faults.store_faults import (
    Answering,
    Dripping,
    Endless,
    Expired,
    Fault,
    IgnoringRanges,
    ShiftingRanges,
    Shortened,
    Silent,
    StoreProxy,
    TooLong,
    Truncated,
    WrongBytes,
    Zipped,
    faulty_store,
)

_DICE = random.Random(7)  # noqa: S311  repeatable contents, no secret
BLOBS = {
    sha256_hex(data): data
    for data in (_DICE.randbytes(size) for size in (9, 200_000, 70_000, 1, 300_000, 5_000))
}
PATIENCE = Patience(
    connect_seconds=2, idle_seconds=0.4, allowance_seconds=0.4, least_bytes_per_second=1_000_000
)


@dataclass
class Server:
    """``SigningLink`` on a dictionary, and on a store that signs.

    Attributes:
        sent: Digest and offset of each blob that came this way.
        asked: Digests of each call for URLs.
        early: Its streams end after so many blobs as if that were all.
    """

    store: BlobStore
    sent: list[tuple[str, int]] = field(default_factory=list)
    asked: list[list[str]] = field(default_factory=list)
    refusal: Exception | None = None
    unsigned: set[str] = field(default_factory=set)
    away: bool = False
    early: int = 1 << 30

    async def enrol(self, device_id: str, enrolment_key: bytes) -> Broker:
        return Broker(device_id, len(enrolment_key))

    async def manifest(self, digest: str) -> bytes:
        return digest.encode()

    async def offer_deltas(
        self, wanted: str, held: str, blobs_per_block: Sequence[int], present_per_block: Sequence[int]
    ) -> Sequence[DeltaOffer]:
        return [DeltaOffer((wanted,), (held,), "", sum(blobs_per_block) - sum(present_per_block))]

    async def blob_urls(self, digests: Sequence[str]) -> dict[str, str]:
        self.asked.append(list(digests))
        if self.refusal is not None:
            raise self.refusal
        known = [digest for digest in digests if digest in BLOBS and digest not in self.unsigned]
        urls = await asyncio.to_thread(self.store.sign, known, seconds=60)
        # Two signatures of one second are equal; a device must see that it was given another URL.
        return {digest: f"{url}&n={len(self.asked)}" for digest, url in zip(known, urls, strict=True)}

    async def blobs(self, wanted: Sequence[Wanted]) -> AsyncGenerator[Chunk, None]:
        if self.away:
            raise LinkError("The server is away.")
        for index, one in enumerate(wanted[: self.early]):
            self.sent.append((one.digest, one.offset_bytes))
            if one.digest not in BLOBS:
                yield Chunk(index, b"", one.offset_bytes, end=True, error=NotFoundError("Nobody names it."))
                continue
            data = BLOBS[one.digest][one.offset_bytes :]
            yield Chunk(index, data, one.offset_bytes, end=False)
            yield Chunk(index, b"", one.offset_bytes + len(data), end=True)


class Clock:
    seconds = 0.0

    def unix_ms(self) -> int:
        return 0

    def monotonic_seconds(self) -> float:
        return self.seconds


@dataclass
class Way:
    """A link, and what stands at its other ends."""

    link: UrlLink
    server: Server
    proxy: StoreProxy
    clock: Clock


@pytest.fixture
async def way(moto_endpoint: str, s3_url: str) -> AsyncIterator[Way]:
    for digest, data in BLOBS.items():
        open_blob_store(s3_url).put(digest, data)
    place = s3_url.partition("?")[0]
    async with faulty_store(moto_endpoint) as proxy:
        store = open_blob_store(f"{place}?region=us-east-1&endpoint={proxy.url}")
        server, clock = Server(store), Clock()
        yield Way(UrlLink(server, patience=PATIENCE, clock=clock), server, proxy, clock)


async def received(way: Way, wanted: Sequence[Wanted] = ()) -> list[bytes]:
    """What came of each wanted blob, in order and without gaps, each with one end."""
    wanted = wanted or [Wanted(digest, 0) for digest in BLOBS]
    parts: list[bytearray] = [bytearray() for _ in wanted]
    ended: list[int] = []
    async with asyncio.timeout(60), aclosing(way.link.blobs(wanted)) as chunks:
        async for chunk in chunks:
            assert chunk.index == len(ended)
            assert chunk.offset_bytes == wanted[chunk.index].offset_bytes + len(parts[chunk.index])
            parts[chunk.index] += chunk.data
            if chunk.end:
                ended.append(chunk.index)
    assert ended == list(range(len(wanted)))
    return [bytes(part) for part in parts]


async def test_all_bytes_come_past_the_server(way: Way) -> None:
    assert await received(way) == list(BLOBS.values())
    assert way.server.sent == []
    assert way.server.asked == [list(BLOBS)]


async def test_a_blob_goes_on_at_the_byte_where_it_was_left(way: Way) -> None:
    wanted = [Wanted(digest, len(data) // 2) for digest, data in BLOBS.items() if len(data) > 1]
    halves = [BLOBS[one.digest][one.offset_bytes :] for one in wanted]
    assert await received(way, wanted) == halves
    assert way.server.sent == []
    ranges = Counter(request.headers["range"] for request in way.proxy.by_url)
    assert ranges == Counter(f"bytes={one.offset_bytes}-" for one in wanted)


async def test_an_offset_at_the_end_gives_an_end_alone(way: Way) -> None:
    digest = next(iter(BLOBS))
    assert await received(way, [Wanted(digest, len(BLOBS[digest]))]) == [b""]


async def test_what_has_no_url_comes_from_the_server_in_its_turn(way: Way) -> None:
    way.server.unsigned = set(list(BLOBS)[1:4])
    assert await received(way) == list(BLOBS.values())
    assert [digest for digest, _ in way.server.sent] == list(BLOBS)[1:4]


async def test_a_blob_that_nobody_names_ends_with_its_error_and_the_others_come(way: Way) -> None:
    first, *_, last = BLOBS
    wanted = [Wanted(first, 0), Wanted("ab" * 32, 0), Wanted(last, 0)]
    async with aclosing(way.link.blobs(wanted)) as chunks:
        errors = [(chunk.index, type(chunk.error)) async for chunk in chunks if chunk.end]
    assert errors == [(0, type(None)), (1, NotFoundError), (2, type(None))]


@pytest.mark.parametrize("refusal", [InvalidInputError("what is this?"), LinkError("away")])
async def test_a_server_that_gives_no_urls_is_asked_for_the_bytes(way: Way, refusal: Exception) -> None:
    way.server.refusal = refusal
    assert await received(way) == list(BLOBS.values())
    assert way.proxy.by_url == []
    assert len(way.server.sent) == len(BLOBS)


@pytest.mark.parametrize(
    "fault",
    [
        Answering(301, by_url=True),
        Answering(404, by_url=True),
        Answering(416, by_url=True),
        Answering(500, by_url=True),
        Answering(503, by_url=True),
        Expired(),
        Silent(by_url=True),
        Dripping(by_url=True),
        Endless(by_url=True),
        Zipped(by_url=True),
    ],
    ids=lambda fault: f"{type(fault).__name__}-{getattr(fault, '_status', '')}",
)
@pytest.mark.parametrize("share", [0, 2])
async def test_a_store_that_fails_costs_time_and_no_bytes_are_wrong(
    way: Way, fault: Fault, share: int
) -> None:
    way.proxy.fault = fault
    wanted = [Wanted(digest, len(data) // share if share else 0) for digest, data in BLOBS.items()]
    assert await received(way, wanted) == [BLOBS[one.digest][one.offset_bytes :] for one in wanted]
    assert way.server.sent


async def test_a_store_that_keeps_failing_is_left_alone_and_tried_again_later(way: Way) -> None:
    way.proxy.fault = Answering(503, by_url=True)
    await received(way)
    tried = len(way.proxy.by_url)
    assert tried < len(BLOBS) + 4
    way.proxy.fault = Fault()
    assert await received(way) == list(BLOBS.values())
    assert len(way.proxy.by_url) == tried
    way.clock.seconds += 601
    way.server.sent.clear()
    assert await received(way) == list(BLOBS.values())
    assert way.server.sent == []


async def test_expired_urls_are_asked_for_anew_once(way: Way) -> None:
    way.proxy.fault = Expired(times=1)
    assert await received(way) == list(BLOBS.values())
    assert way.server.sent == []
    assert way.server.asked == [list(BLOBS)] * 2


async def test_urls_that_are_never_honoured_are_not_asked_for_again_and_again(way: Way) -> None:
    way.proxy.fault = Expired()
    assert await received(way) == list(BLOBS.values())
    assert way.server.asked == [list(BLOBS)] * 2
    assert len(way.server.sent) == len(BLOBS)


async def test_a_connection_that_breaks_costs_no_byte_twice(way: Way) -> None:
    digest, data = max(BLOBS.items(), key=lambda item: len(item[1]))
    way.proxy.fault = Truncated(by_url=True, times=1)
    assert await received(way, [Wanted(digest, 0)]) == [data]
    assert way.server.sent == []
    assert "range" not in way.proxy.by_url[0].headers
    assert way.proxy.by_url[1].headers["range"].startswith("bytes=")


async def test_connections_that_always_break_end_at_the_server(way: Way) -> None:
    way.proxy.fault = Truncated(by_url=True)
    assert await received(way) == list(BLOBS.values())
    assert way.server.sent


@pytest.mark.parametrize("fault", [IgnoringRanges(by_url=True), ShiftingRanges(by_url=True)])
async def test_bytes_from_elsewhere_in_the_blob_never_pass(way: Way, fault: Fault) -> None:
    way.proxy.fault = fault
    wanted = [Wanted(digest, len(data) // 3) for digest, data in BLOBS.items() if len(data) > 20]
    assert await received(way, wanted) == [BLOBS[one.digest][one.offset_bytes :] for one in wanted]
    assert {digest for digest, _ in way.server.sent} == {one.digest for one in wanted}


@pytest.mark.parametrize("fault", [WrongBytes(by_url=True), TooLong(by_url=True), Shortened(by_url=True)])
async def test_a_blob_that_was_refused_comes_from_the_server_the_second_time(way: Way, fault: Fault) -> None:
    way.proxy.fault = fault
    digest, data = list(BLOBS.items())[1]
    (wrong,) = await received(way, [Wanted(digest, 0)])
    assert sha256_hex(wrong) != digest
    assert len(wrong) <= len(data) + 1000
    assert await received(way, [Wanted(digest, 0)]) == [data]
    assert way.server.sent == [(digest, 0)]


async def test_a_body_beyond_any_blob_is_not_begun(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("device_agent.link.url_body.MAX_BLOB_BYTES", 100_000)
    assert await received(way) == list(BLOBS.values())
    assert {digest for digest, _ in way.server.sent} == {
        digest for digest, data in BLOBS.items() if len(data) > 100_000
    }


async def test_closing_ends_every_transfer(way: Way) -> None:
    async with aclosing(way.link.blobs([Wanted(digest, 0) for digest in BLOBS])) as chunks:
        async for _ in chunks:
            assert under_way()
            break
    assert not under_way()


def under_way() -> list[asyncio.Task[object]]:
    return [task for task in asyncio.all_tasks() if "ReadAhead" in repr(task)]


async def test_a_server_that_ends_too_early_or_is_away_is_a_link_error(way: Way) -> None:
    way.server.refusal = LinkError("away")
    way.server.early = 2
    with pytest.raises(LinkError, match="too early"):
        await received(way)
    way.server.away = True
    with pytest.raises(LinkError, match="away"):
        await received(way)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://x/y", "http://[", "https://" + "a" * 9000, ""])
async def test_what_is_no_web_address_is_not_followed(
    way: Way, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nonsense(digests: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(digests, url)

    monkeypatch.setattr(way.server, "blob_urls", nonsense)
    assert await received(way) == list(BLOBS.values())
    assert len(way.server.sent) == len(BLOBS)


@pytest.mark.parametrize(
    "fault", [Fault(), Expired(), Answering(500), Truncated(by_url=True), Answering(301, by_url=True)]
)
async def test_a_url_is_never_logged(way: Way, fault: Fault, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    way.proxy.fault = fault
    await received(way)
    seen = "\n".join(f"{record.getMessage()} {record.exc_info}" for record in caplog.records)
    assert way.proxy.by_url
    assert "X-Amz" not in seen
    assert moto.CREDENTIALS["AWS_ACCESS_KEY_ID"] not in seen


async def test_deltas_are_asked_of_the_server(way: Way) -> None:
    assert await way.link.offer_deltas("a", "b", [3], [1]) == [DeltaOffer(("a",), ("b",), "", 2)]
