"""Deltas on demand: what is offered, what it costs the server, and what becomes of it."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pytest

from common.block_codec import encode, shape_of
from common.delta import decode_delta, spans
from common.errors import CapacityError, InvalidInputError, NotFoundError
from server.delivery.delta_pair import DeltaOffer
from server.delivery.deltas import Deltas
from server.registry.repository import Registry
from server.storage.folder import FolderBlobStore
from server.storage.garbage import collect
from tests.support.deltas import contents
from tests.support.fleet import TestVersion, make_version
from tests.support.published import publish
from tests.support.waiting import until

SCALE = 8
ONE = make_version(1, scale=SCALE)
NEAR = make_version(2, scale=SCALE, near=True)
FAR = make_version(3, scale=SCALE)
ALL = (3, 3, 3, 1)


class CountingStore(FolderBlobStore):
    """Counts what is put, and reads only while its gate is open."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.puts: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()

    def put(self, digest: str, data: bytes) -> bool:
        self.puts[digest] += 1
        return super().put(digest, data)

    def read(self, digest: str) -> bytes:
        assert self.gate.wait(20)
        return super().read(digest)


@dataclass
class Desk:
    """Deltas over a registry and a store with three versions."""

    registry: Registry
    store: CountingStore
    deltas: Deltas

    async def offers(
        self, wanted: TestVersion = NEAR, held: TestVersion = ONE, counts: Sequence[int] = ALL,
        present: Sequence[int] = (),
    ) -> list[DeltaOffer]:  # fmt: skip
        answers = self.deltas.offers(digest(wanted), digest(held), counts, present)
        return [offer async for batch in answers for offer in batch]


def digest(version: TestVersion) -> str:
    return version.release.manifest_digest


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    registry = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
    yield registry
    registry.close()


@pytest.fixture
async def desk(registry: Registry, tmp_path: Path) -> AsyncIterator[Desk]:
    store = CountingStore(tmp_path / "blobs")
    for version in (ONE, NEAR, FAR):
        publish(registry, store, version)
    store.puts.clear()
    deltas = Deltas(registry, store, sign_of_life_seconds=0.05)
    yield Desk(registry, store, deltas)
    store.gate.set()
    await deltas.close()


async def test_a_delta_stands_for_all_blobs_of_a_block_and_gives_them(desk: Desk) -> None:
    offers = await desk.offers()
    assert len(offers) == 3
    for at, offer in enumerate(offers):
        block = NEAR.manifest.blocks[at]
        assert offer.digests == tuple(ref.digest for ref in block.blobs)
        assert offer.from_digests == tuple(ref.digest for ref in ONE.manifest.blocks[at].blobs)
        data = desk.store.read(offer.delta_digest)
        assert len(data) == offer.delta_size_bytes < sum(ref.size_bytes for ref in block.blobs) / 2
        held = contents((ONE.manifest, ONE.blobs), at, 2)
        rebuilt = decode_delta(data, held, [], spans(block, NEAR.manifest.levels, 0, 3)[0])
        for index, content in enumerate(rebuilt):
            assert encode(content, shape_of(block, NEAR.manifest.levels, index))[1] == block.blobs[index]


async def test_who_wants_bases_alone_is_offered_their_deltas_alone(desk: Desk) -> None:
    offers = await desk.offers(counts=(1, 1, 0, 1))
    assert [offer.digests for offer in offers] == [
        (block.blobs[0].digest,) for block in NEAR.manifest.blocks[:2]
    ]
    assert sum(desk.store.puts.values()) == 2


async def test_who_has_bases_is_offered_deltas_of_shards(desk: Desk) -> None:
    offers = await desk.offers(present=(1, 0, 3, 1))
    block = NEAR.manifest.blocks[1]
    assert offers[0].digests == tuple(ref.digest for ref in block.blobs), "bases come first"
    assert offers[1].digests == tuple(ref.digest for ref in NEAR.manifest.blocks[0].blobs[1:])
    assert offers[1].from_digests == tuple(ref.digest for ref in ONE.manifest.blocks[0].blobs)
    assert len(offers) == 2


async def test_what_is_not_smaller_is_not_offered_and_not_tried_again(desk: Desk) -> None:
    assert await desk.offers(FAR) == []
    known = desk.registry.deltas(digest(ONE), digest(FAR))
    assert [(record.block, record.size_bytes) for record in known] == [(0, 0), (1, 0), (2, 0)]
    desk.store.gate.clear()  # nothing is read
    async with asyncio.timeout(60):
        assert await desk.offers(FAR) == []
    assert not desk.store.puts


async def test_a_version_against_itself_has_nothing_to_offer(desk: Desk) -> None:
    assert await desk.offers(ONE, ONE) == []
    assert not desk.store.puts


async def test_many_who_ask_at_once_cost_as_much_as_one(desk: Desk) -> None:
    answers = await asyncio.gather(*(desk.offers() for _ in range(64)))
    assert all(answer == answers[0] for answer in answers)
    assert set(desk.store.puts.values()) == {1}
    assert len(desk.store.puts) == 3


async def test_what_was_made_once_is_known_after_a_restart(desk: Desk) -> None:
    offers = await desk.offers()
    desk.store.gate.clear()
    again = Deltas(desk.registry, desk.store)
    async with asyncio.timeout(60):
        batches = [batch async for batch in again.offers(digest(NEAR), digest(ONE), ALL)]
    assert batches == [offers], "in one answer"
    await again.close()


async def test_who_goes_away_leaves_what_was_begun_to_the_next(desk: Desk) -> None:
    desk.store.gate.clear()
    async with aclosing(desk.deltas.offers(digest(NEAR), digest(ONE), ALL)) as answers:
        assert await anext(answers) == []
        assert await anext(answers) == [], "a sign of life while the store keeps it waiting"
    waiting = asyncio.create_task(desk.offers())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    desk.store.gate.set()
    await until(lambda: desk.registry.deltas(digest(ONE), digest(NEAR)))
    assert len(await desk.offers()) == 3
    assert set(desk.store.puts.values()) == {1}


async def test_versions_that_the_registry_does_not_have(desk: Desk) -> None:
    stranger = make_version(9)
    for pair in ((stranger, ONE), (NEAR, stranger)):
        with pytest.raises(NotFoundError):
            await desk.offers(*pair)


@pytest.mark.parametrize(
    ("counts", "present"),
    [
        ((3, 3, 3), ()),
        ((3, 3, 3, 1, 1), ()),
        ((4, 3, 3, 1), ()),
        (ALL, (1, 1)),
        (ALL, (4, 0, 0, 0)),
        ((), ()),
    ],
)
async def test_numbers_that_do_not_fit_the_version(
    desk: Desk, counts: tuple[int, ...], present: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidInputError):
        await desk.offers(counts=counts, present=present)


async def test_a_version_that_goes_meanwhile(desk: Desk) -> None:
    desk.store.gate.clear()
    asking = asyncio.create_task(desk.offers())
    await until(lambda: desk.deltas._works)
    desk.registry.delete_version("net", 1)
    desk.store.gate.set()
    with pytest.raises(NotFoundError):
        await asking


async def test_a_blob_that_is_damaged_costs_only_its_own_delta(desk: Desk) -> None:
    ref = ONE.manifest.blocks[0].blobs[0]
    path = next(desk.store._root.glob(f"??/??/{ref.digest}"))
    path.write_bytes(b"rot")
    assert len(await desk.offers()) == 2
    path.write_bytes(ONE.blobs[ref.digest])
    assert len(await desk.offers()) == 3, "nothing is remembered of a failure that can be healed"


async def test_garbage_collection_takes_a_delta_with_its_version_and_not_before(desk: Desk) -> None:
    made = {offer.delta_digest for offer in await desk.offers()}

    def collected() -> set[str]:
        before = {blob.digest for blob in desk.store.list()}
        collect(desk.store, desk.registry, grace_seconds=-1, now_unix_ms=1 << 60)
        return before - {blob.digest for blob in desk.store.list()}

    assert collected() == set()
    desk.registry.delete_version("net", 1)
    assert made <= collected()


async def test_more_pairs_at_once_than_the_server_takes_are_put_off(desk: Desk, registry: Registry) -> None:
    desk.store.gate.clear()
    small = Deltas(registry, desk.store, pairs=1)
    asking = small.offers(digest(NEAR), digest(ONE), ALL)
    assert await anext(asking) == []
    with pytest.raises(CapacityError):
        await anext(small.offers(digest(FAR), digest(ONE), ALL))
    desk.store.gate.set()
    await asking.aclose()
    await until(lambda: not small._works)
    assert [batch async for batch in small.offers(digest(FAR), digest(ONE), ALL)][-1] == []
    await small.close()
