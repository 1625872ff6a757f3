"""A stream against a shelf in memory and a device that does what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing

import pytest

from common.errors import Error, InvalidInputError, LinkError, NotFoundError
from server.delivery.stream.pieces import Part, Place
from server.delivery.stream.sending import BlobStream
from server.delivery.stream.window import MAX_AHEAD_BYTES
from server.storage.port import BlobSlice

BLOBS = {"empty": b"", "small": b"small", "large": bytes(range(256)) * 8192, "hidden": b"hidden"}


class MemoryShelf:
    """Blobs; remembers what was read, and is away when told to be.

    Args:
        hot: Of three reads, how many need no waiting.
    """

    def __init__(self, *, away: bool = False, hot: int = 0) -> None:
        self.away = away
        self._hot = hot
        self._turn = 0
        self.read_bytes = 0
        self.reads = 0

    async def offered(self, digests: Collection[str]) -> frozenset[str]:
        return frozenset(digests) & (BLOBS.keys() - {"hidden"} | {"lost"})

    def read_at_once(self, places: Sequence[Place], *, limit_bytes: int) -> list[BlobSlice | Error]:
        self._turn += 1
        hot = places[: next((n for n, place in enumerate(places) if place.digest == "lost"), len(places))]
        return self._slices(hot, limit_bytes) if hot and self._turn % 3 < self._hot else []

    async def read(self, places: Sequence[Place], *, limit_bytes: int) -> list[BlobSlice | Error]:
        await asyncio.sleep(0)
        if self.away:
            raise LinkError("The store is away.")
        return self._slices(places, limit_bytes)

    def _slices(self, places: Sequence[Place], limit_bytes: int) -> list[BlobSlice | Error]:
        self.reads += 1
        found: list[BlobSlice | Error] = []
        for place in places:
            if place.digest == "lost":
                found.append(NotFoundError("lost"))
                continue
            data = BLOBS[place.digest]
            some = data[place.offset_bytes : place.offset_bytes + limit_bytes]
            found.append(BlobSlice(some, len(data)))
            limit_bytes -= len(some)
            self.read_bytes += len(some)
            if limit_bytes <= 0:
                break
        return found


async def taken(stream: BlobStream, *, acknowledge: bool = True) -> list[Part]:
    """Everything that the stream gives."""
    parts: list[Part] = []
    total = 0
    async with asyncio.timeout(60), aclosing(stream.parts()) as coming:
        async for part in coming:
            parts.append(part)
            total += len(part.data)
            if acknowledge:
                stream.took(total)
    return parts


def joined(parts: Sequence[Part], index: int) -> bytes:
    return b"".join(part.data for part in parts if part.index == index)


@pytest.mark.parametrize("hot", [0, 1, 2, 3])
async def test_every_blob_in_its_order_each_with_one_end(hot: int) -> None:
    stream = BlobStream(MemoryShelf(hot=hot), idle_seconds=0.05)
    wanted = [
        ("small", 0),
        ("large", 0),
        ("empty", 0),
        ("hidden", 0),
        ("lost", 0),
        ("large", 7),
        ("small", 5),
    ]
    await stream.want(wanted)
    parts = await taken(stream)
    assert [part.index for part in parts if part.end] == list(range(len(wanted)))
    assert sorted(part.index for part in parts) == [part.index for part in parts]
    for index, (name, offset) in enumerate(wanted):
        error = next(part.error for part in parts if part.index == index and part.end)
        if name in {"hidden", "lost"}:
            assert isinstance(error, NotFoundError)
        else:
            assert error is None
            assert joined(parts, index) == BLOBS[name][offset:]


@pytest.mark.parametrize("hot", [0, 1, 3])
async def test_small_blobs_share_a_read(hot: int) -> None:
    shelf = MemoryShelf(hot=hot)
    stream = BlobStream(shelf, idle_seconds=0.05)
    await stream.want([("small", 0)] * 1000)
    assert len(await taken(stream)) == 1000
    assert shelf.reads <= 22


async def test_a_device_that_takes_nothing_is_left_and_costs_little_memory() -> None:
    shelf = MemoryShelf()
    stream = BlobStream(shelf, idle_seconds=0.1)
    await stream.want([("large", 0)] * 1000)
    with pytest.raises(LinkError, match="too slowly"):
        await taken(stream, acknowledge=False)
    assert shelf.read_bytes <= MAX_AHEAD_BYTES + 2 * 1024 * 1024


async def drip(stream: BlobStream, clock: list[float]) -> None:
    """A byte a second, once bytes are there to be taken."""
    told_bytes = 0
    while True:
        await asyncio.sleep(0.001)
        if stream.ahead_bytes:
            clock[0] += 1
            told_bytes += 1
            stream.took(told_bytes)


async def test_a_device_that_drips_is_left() -> None:
    clock = [0.0]
    stream = BlobStream(MemoryShelf(), idle_seconds=60, now_seconds=lambda: clock[0])
    await stream.want([("large", 0)] * 10)
    dripping = asyncio.ensure_future(drip(stream, clock))
    with pytest.raises(LinkError, match="too slowly"):
        await taken(stream, acknowledge=False)
    dripping.cancel()
    assert clock[0] <= 80


async def test_a_device_that_wants_nothing_is_let_go() -> None:
    assert await taken(BlobStream(MemoryShelf(), idle_seconds=0.05)) == []


async def test_a_device_that_said_its_last_word_gets_what_one_window_holds() -> None:
    stream = BlobStream(MemoryShelf(), idle_seconds=60)
    await stream.want([("large", 0), ("small", 0)])
    stream.no_more_words()
    parts = await taken(stream, acknowledge=False)
    assert joined(parts, 0) + joined(parts, 1) == BLOBS["large"] + BLOBS["small"]


async def test_a_store_that_is_away_ends_the_stream() -> None:
    stream = BlobStream(MemoryShelf(away=True), idle_seconds=60)
    await stream.want([("small", 0)])
    with pytest.raises(LinkError, match="away"):
        await taken(stream)


async def test_what_a_device_says_wrongly_ends_the_stream() -> None:
    stream = BlobStream(MemoryShelf(), idle_seconds=60)
    stream.no_more_words(InvalidInputError("what?"))
    with pytest.raises(InvalidInputError, match="what"):
        await taken(stream)


@pytest.mark.parametrize("hot", [0, 3])
async def test_a_blob_that_is_cancelled_on_its_way_ends_at_once_and_the_next_comes(hot: int) -> None:
    stream = BlobStream(MemoryShelf(hot=hot), idle_seconds=0.05)
    await stream.want([("large", 0), ("large", 0), ("small", 0)])
    parts: list[Part] = []
    async with asyncio.timeout(60), aclosing(stream.parts()) as coming:
        async for part in coming:
            parts.append(part)
            stream.cancel(["large"])
            stream.took(sum(len(part.data) for part in parts))
    assert len(parts[0].data) < len(BLOBS["large"])
    assert [(part.index, part.data, part.end) for part in parts[1:]] == [(2, b"small", True)]
