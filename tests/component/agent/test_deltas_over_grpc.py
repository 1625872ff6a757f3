"""A real server and real bytes between: updates by deltas, with kills of the server on the way."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from common.rpc_status import from_rpc_error
from device_agent.link.grpc_link import GrpcLink
from server.registry.repository import Registry
from server.storage.object_store import open_blob_store
from tests.support.fleet import Board, MemoryServer, RunningAgent, TestVersion, make_version
from tests.support.ports import kept_port
from tests.support.published import publish
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until

SCALE = 8
ONE = make_version(1, scale=SCALE)
TWO = make_version(2, scale=SCALE, near=True)
FRESH = {digest for block in TWO.manifest.blocks[:3] for digest in (ref.digest for ref in block.blobs)}


@dataclass
class Site:
    """A folder in which a server can be started again and again, at one address."""

    folder: Path
    listen: str

    @asynccontextmanager
    async def server(self) -> AsyncIterator[RunningServer]:
        async with running_server(self.folder, listen=self.listen) as server:
            yield server

    def publish(self, server: RunningServer, *versions: TestVersion) -> None:
        registry = Registry(server.settings.database)
        for version in versions:
            publish(registry, open_blob_store(server.settings.blobs), version)
        registry.close()

    def board(self, stack: AsyncExitStack, name: str) -> Board:
        link = GrpcLink(self.listen, call_seconds=5, chunk_seconds=5)
        stack.push_async_exit(link)
        return Board(self.folder / name, link)  # type: ignore[arg-type]  # a ServerLink is all that it needs


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with kept_port() as port:
        yield Site(tmp_path, f"127.0.0.1:{port}")


def delta_bytes(server: RunningServer) -> list[int]:
    """Sizes of all deltas from the first version to the second."""
    registry = Registry(server.settings.database)
    known = registry.deltas(ONE.release.manifest_digest, TWO.release.manifest_digest)
    registry.close()
    return [record.size_bytes for record in known]


async def runs(board: Board, running: RunningAgent, version: TestVersion, level: int = 8) -> None:
    board.assign(version)
    await until(lambda: running.runs(version.manifest.version, level))


async def test_an_update_by_deltas_gives_what_a_fresh_device_loads(site: Site) -> None:
    async with site.server() as server, AsyncExitStack() as stack:
        site.publish(server, ONE, TWO)
        device, fresh = site.board(stack, "device"), Board(site.folder / "fresh", MemoryServer([TWO]))
        async with device.agent() as running, fresh.agent() as other:
            await runs(device, running, ONE)
            await runs(device, running, TWO)
            await runs(fresh, other, TWO)
            assert running.agent.status().loaded_digest == other.agent.status().loaded_digest
            assert running.ledger()["update"] == running.ledger()["retransmitted"] == 0
            assert 0 < running.ledger()["delta"] == sum(delta_bytes(server)) < TWO.wire(8, without=ONE) / 2
            assert running.store.blobs.present >= FRESH


async def test_a_base_only_device_pays_for_base_deltas_only(site: Site) -> None:
    async with site.server() as server, AsyncExitStack() as stack:
        site.publish(server, ONE, TWO)
        device = site.board(stack, "device")
        device.limit(ONE.bytes_at(4), 1)
        async with device.agent() as running:
            await runs(device, running, ONE, 4)
            await runs(device, running, TWO, 4)
            registry = Registry(server.settings.database)
            known = registry.deltas(ONE.release.manifest_digest, TWO.release.manifest_digest)
            registry.close()
            assert {(record.first, record.last) for record in known} == {(0, 0)}
            assert running.ledger()["delta"] == sum(record.size_bytes for record in known)


async def test_a_server_that_starts_anew_in_the_midst_of_it_costs_no_byte_twice(site: Site) -> None:
    async with AsyncExitStack() as stack:
        async with site.server() as server:
            site.publish(server, ONE, TWO)
            device = site.board(stack, "device")
            running = await stack.enter_async_context(device.agent())
            await runs(device, running, ONE)
        device.assign(TWO)
        await until(lambda: running.agent.status().phase == "waiting")
        async with site.server() as server:
            running.agent.look_again()
            await until(lambda: running.runs(2, 8))
            assert running.ledger()["retransmitted"] == running.ledger()["update"] == 0
            assert running.ledger()["delta"] == sum(delta_bytes(server))


async def test_deltas_come_from_any_offset_and_go_with_their_version(site: Site) -> None:
    async with site.server() as server, AsyncExitStack() as stack:
        site.publish(server, ONE, TWO)
        device = site.board(stack, "device")
        link = device.server
        manifests = TWO.release.manifest_digest, ONE.release.manifest_digest
        offers = await link.offer_deltas(*manifests, (3, 3, 3, 1), (0, 0, 0, 0))
        assert {digest for offer in offers for digest in offer.digests} == FRESH
        registry = Registry(server.settings.database)
        registry.delete_version("net", 1)
        registry.close()
        stub: delivery_pb2_grpc.DeliveryServiceAsyncStub = delivery_pb2_grpc.DeliveryServiceStub(
            server.channel
        )
        request = delivery_pb2.OfferDeltasRequest(
            manifest_digest=bytes.fromhex(manifests[0]),
            held_manifest_digest=bytes.fromhex(manifests[1]),
            blobs_per_block=(3, 3, 3, 1),
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.OfferDeltas(request).read()
        assert from_rpc_error(caught.value).code == "not_found"
