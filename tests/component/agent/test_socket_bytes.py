"""What the ledger says against what crossed the wire, counted by proxies before server and broker."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
from nestfleet.v1 import catalog_pb2, fleet_pb2, fleet_pb2_grpc

from tests.support.agent_process import AgentProcess, agent_process
from tests.support.counting_proxy import CountingProxy
from tests.support.pushes import push, tiny_parts
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until

# A hundredth is promised. The kernel is exact, but for what crosses in the last milliseconds before a cut.
MOST_ERROR = 0.005
HALF_A_MIB, TINY = 256, 8  # widths of the network
LINK_BYTES_PER_SECOND = 512 * 1024
UNCOMMITTED_SECONDS = 2.5


class Links:
    """A server, and the two ways to it."""

    def __init__(self, server: RunningServer, grpc: CountingProxy, broker: CountingProxy) -> None:
        self.server, self.grpc, self.broker = server, grpc, broker
        self._fleet: fleet_pb2_grpc.FleetServiceAsyncStub = fleet_pb2_grpc.FleetServiceStub(server.channel)

    @property
    def crossed_bytes(self) -> int:
        return self.grpc.crossed_bytes + self.broker.crossed_bytes

    async def push(self, seed: int, width: int) -> None:
        await push(self.server.addresses.grpc, tiny_parts(seed, width), block_size_bytes=64 * 1024)

    async def assign(self, version: int) -> None:
        ref = catalog_pb2.VersionRef(model="tiny", version=version)
        await self._fleet.Assign(fleet_pb2.AssignRequest(ref=ref, all_devices=True))

    async def online(self) -> bool:
        devices = (await self._fleet.ListDevices(fleet_pb2.ListDevicesRequest())).devices
        return any(device.online for device in devices)

    async def savings(self) -> fleet_pb2.Savings:
        return (await self._fleet.GetSavings(fleet_pb2.GetSavingsRequest())).fleet


@pytest.fixture
async def links(tmp_path: Path) -> AsyncIterator[Links]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path / "server"))
        grpc = await stack.enter_async_context(
            CountingProxy(server.addresses.grpc, bytes_per_second=LINK_BYTES_PER_SECOND).serving()
        )
        broker = server.addresses.broker.rpartition("/")[2]
        yield Links(server, grpc, await stack.enter_async_context(CountingProxy(broker).serving()))


@pytest.fixture
def agents() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def start(agents: ExitStack, links: Links, folder: Path, **settings: object) -> AgentProcess:
    broker_url = f"mqtt://{links.broker.address}"
    agent = agents.enter_context(
        agent_process(folder, "kitchen", links.grpc.address, broker_url=broker_url, **settings)
    )
    await until(links.online)
    return agent


async def ledger(agent: AgentProcess) -> dict[str, int]:
    return dict((await agent.status())["ledger"])


async def agrees(links: Links, agent: AgentProcess) -> bool:
    """Whether the ledger's sum is what crossed, nearly; it lags by half a second."""
    counted_bytes, crossed_bytes = sum((await ledger(agent)).values()), links.crossed_bytes
    return abs(counted_bytes - crossed_bytes) <= MOST_ERROR * crossed_bytes


@pytest.mark.parametrize(("width", "cut_after_bytes"), [(HALF_A_MIB, 300_000), (TINY, 12_000)])
async def test_a_download_with_a_cut_and_an_update_are_counted_as_they_cross(
    links: Links, agents: ExitStack, tmp_path: Path, width: int, cut_after_bytes: int
) -> None:
    for seed in (1, 2):
        await links.push(seed, width)
    agent = await start(agents, links, tmp_path)
    links.grpc.cut_after_bytes = cut_after_bytes
    await links.assign(1)
    await until(lambda: agent.runs(1, 8))
    assert links.grpc.connections == 2
    await until(lambda: agrees(links, agent))

    before = await ledger(agent)
    await links.assign(2)
    await until(lambda: agent.runs(2, 8))
    await until(lambda: agrees(links, agent))
    after = await ledger(agent)
    assert after["update"] > before["update"] == 0
    assert after["overhead"] > before["overhead"]
    if width == TINY:
        assert after["overhead"] > 10 * MOST_ERROR * links.crossed_bytes, "payload alone would pass"

    async def server_knows() -> bool:
        moved_bytes = (await links.savings()).moved_bytes
        return abs(moved_bytes - links.crossed_bytes) <= 0.05 * links.crossed_bytes

    await until(server_knows)


async def test_a_device_with_nothing_to_do_counts_what_it_says(
    links: Links, agents: ExitStack, tmp_path: Path
) -> None:
    agent = await start(agents, links, tmp_path)
    await until(lambda: links.broker.crossed_bytes > 1000)
    await until(lambda: agrees(links, agent))
    assert (await agent.status())["overhead_measured"] is True


async def test_a_kill_makes_up_no_byte_and_loses_only_what_was_not_on_disk(
    links: Links, agents: ExitStack, tmp_path: Path
) -> None:
    await links.push(1, HALF_A_MIB)
    agent = await start(agents, links, tmp_path, download_limit_bytes_per_second=128 * 1024)
    await links.assign(1)

    async def in_the_middle() -> bool:
        status = await agent.status()
        return bool(status["fetch_done_bytes"] > 0.6 * status["fetch_total_bytes"] > 0)

    await until(in_the_middle)
    agent.kill()
    agent.start()
    await agent.ready()
    await until(lambda: agent.runs(1, 8))

    async def no_more_is_lost() -> bool:
        counted_bytes = sum((await ledger(agent)).values())
        assert counted_bytes <= links.crossed_bytes
        return links.crossed_bytes - counted_bytes <= UNCOMMITTED_SECONDS * LINK_BYTES_PER_SECOND / 4

    await until(no_more_is_lost)
    assert (await ledger(agent))["retransmitted"] == 0
