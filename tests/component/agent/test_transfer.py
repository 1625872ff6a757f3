"""One stream into the store: held to a rate, ended by a pacer, left when there is no use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Sequence
from pathlib import Path

import pytest

from common.errors import CapacityError, LinkError, NotFoundError
from common.rate_floor import RateFloor
from device_agent.link.server import Chunk, Wanted
from device_agent.store.store import Store
from device_agent.update.fetch_plan import wanted_blobs
from device_agent.update.fetcher import Fetcher
from device_agent.update.pacing import Pacer
from device_agent.update.transfer import Transfer
from tests.support.fleet import MemoryServer, make_version

ONE = make_version(1)
PLAN = wanted_blobs(ONE.manifest, (8, 8, 8, 4))
REFS = [ref for _, ref in PLAN]
A_BASE = ONE.manifest.blocks[0].blobs[0].digest
A_SHARD = ONE.manifest.blocks[1].blobs[2].digest


class DrippingServer(MemoryServer):
    """Waits before every piece."""

    async def blobs(self, wanted: Sequence[Wanted]) -> AsyncGenerator[Chunk, None]:
        async for chunk in super().blobs(wanted):
            await asyncio.sleep(0.02)
            yield chunk


class Spent(Pacer):
    """Forbids to go on after so many bytes."""

    def __init__(self, left_bytes: int) -> None:
        super().__init__()
        self._left_bytes = left_bytes

    async def received(self, count_bytes: int) -> None:
        self._left_bytes -= count_bytes
        if self._left_bytes < 0:
            raise CapacityError("The limit of this link is used up.")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path, "board")
    yield opened
    opened.close()


def fetcher(server: MemoryServer, store: Store, pacer: Pacer | None = None) -> Fetcher:
    return Fetcher(server, store, pacer=pacer or Pacer(), disk_reserve_bytes=0, on_progress=lambda: None)


def counted(store: Store) -> int:
    return sum(total.payload_bytes for total in store.ledger.totals())


async def test_a_server_that_drips_is_left_and_what_came_stays(store: Store) -> None:
    server = DrippingServer([ONE])
    here = store.expect(ONE.release, [item for item, _ in PLAN])
    floor = RateFloor(1_000_000, 0.2)
    transfer = Transfer(server, store, pacer=Pacer(), on_progress=lambda: None, floor=floor)
    with pytest.raises(LinkError, match="too slowly"):
        await transfer.run(REFS, here)
    assert 0 < counted(store) <= server.sent.total() < 20 * 64
    await fetcher(MemoryServer([ONE]), store).blobs(ONE.release, PLAN)
    assert counted(store) == sum(ref.size_bytes for ref in REFS)


@pytest.mark.parametrize("left_bytes", [0, 63, 64, 1000])
async def test_a_pacer_that_forbids_ends_the_transfer_and_it_can_go_on(store: Store, left_bytes: int) -> None:
    server = MemoryServer([ONE])
    with pytest.raises(CapacityError, match="used up"):
        await fetcher(server, store, Spent(left_bytes)).blobs(ONE.release, PLAN)
    assert counted(store) == server.sent.total()
    assert left_bytes < server.sent.total() <= left_bytes + 64
    await fetcher(server, store).blobs(ONE.release, PLAN)
    assert counted(store) == server.sent.total() == sum(ref.size_bytes for ref in REFS)


async def test_a_base_that_is_gone_ends_the_fetch_at_once(store: Store) -> None:
    server = MemoryServer([ONE], gone={A_BASE})
    with pytest.raises(NotFoundError):
        await fetcher(server, store).blobs(ONE.release, PLAN)
    assert [digest for digest, _ in server.streams][-1] == A_BASE
    assert server.sent.total() < 500


async def test_a_shard_that_is_gone_keeps_no_other_from_coming(store: Store) -> None:
    server = MemoryServer([ONE], gone={A_SHARD})
    with pytest.raises(NotFoundError):
        await fetcher(server, store).blobs(ONE.release, PLAN)
    assert store.blobs.present == {ref.digest for ref in REFS} - {A_SHARD}


async def test_wrong_bytes_are_counted_over_streams_that_break(store: Store) -> None:
    server = MemoryServer([ONE])
    server.flips[A_BASE] = 1000
    fetching = fetcher(server, store)
    tries = 0
    with pytest.raises(Exception, match="other content"):  # noqa: PT012  # how many streams it takes is not told
        while True:
            server.cuts = [2000]
            tries += 1
            try:
                await fetching.blobs(ONE.release, PLAN)
            except LinkError:
                assert tries < 20
    assert server.flips[A_BASE] == 997
