"""A real version from a real server under every fault of the way: nothing is lost, nothing wrong answers,
a reason is given, and no finished blob comes twice."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from nestfleet.v1 import catalog_pb2

from benchmarks.links.faulty_link import FaultyLink
from common.manifest import Manifest
from device_agent.link.grpc_link import GrpcLink
from device_agent.store.manifests import open_frame
from device_agent.store.records import Release
from tests.support.faults.clock import YEAR_SECONDS, WrongClock
from tests.support.faults.device import Device
from tests.support.faults.killed_server import KilledServer
from tests.support.faults.links import Bomb, Recording, TooManyBytes, WrongBytes
from tests.support.fleet import RunningAgent
from tests.support.pushes import push, tiny_parts
from tests.support.server import running_server
from tests.support.waiting import until

WIDTH = 256  # about a MiB in all, in blobs of up to 64 KiB


@dataclass
class Scene:
    """A server with a version, a link to it and a device behind the link."""

    version: catalog_pb2.Version
    link: FaultyLink
    device: Device

    def assign(self) -> Release:
        return self.device.assign(self.version)


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path / "server"))
        version = await push(server.addresses.grpc, tiny_parts(1, WIDTH), block_size_bytes=64 * 1024)
        link = await stack.enter_async_context(FaultyLink(server.addresses.grpc))
        yield Scene(version, link, Device(tmp_path / "store", link.address))


def wire_bytes(manifest: Manifest) -> int:
    """All that a device needs of a version but its manifest."""
    return sum({ref.digest: ref.size_bytes for ref in manifest.device_refs()}.values())


async def check_whole(running: RunningAgent, recording: Recording, release: Release) -> None:
    """The version answers, all its bytes came, each once."""
    await until(lambda: running.runs(1, 8))
    manifest = running.store.manifest(release)
    assert manifest is not None
    ledger = running.ledger()
    payload = sum(ledger.values()) - ledger["retransmitted"]
    assert payload == wire_bytes(manifest) + running.store.sizes()[release.manifest_digest]
    assert recording.asked_again == []
    assert running.fault() == ""


async def waits(running: RunningAgent) -> None:
    """The agent says that it waits for the server."""
    await until(lambda: running.agent.status().phase == "waiting")


async def cut_anywhere(scene: Scene, running: RunningAgent) -> None:  # noqa: ARG001  # as its fellows
    dice = random.Random(3)  # noqa: S311  # repeatable, no secret
    for count in range(1, 21):
        scene.link.cut_after(dice.randrange(1, 25_000))
        await until(lambda count=count: scene.link.cuts >= count)  # type: ignore[misc]


async def half_open(scene: Scene, running: RunningAgent) -> None:
    scene.link.rate = 300_000
    await until(lambda: running.ledger()["base"] > 50_000)
    scene.link.fall_silent()
    await waits(running)
    scene.link.rate = 0


async def one_byte_a_second(scene: Scene, running: RunningAgent) -> None:
    scene.link.rate = 300_000
    await until(lambda: running.ledger()["base"] > 50_000)
    scene.link.rate = 1
    await waits(running)
    scene.link.rate = 0
    scene.link.cut()


async def another_address(scene: Scene, running: RunningAgent) -> None:
    scene.link.rate = 300_000
    await until(lambda: running.ledger()["base"] > 50_000)
    scene.link.change_address()
    scene.link.rate = 0


@pytest.mark.parametrize(
    "strike",
    [cut_anywhere, half_open, one_byte_a_second, another_address],
    ids=lambda strike: strike.__name__,
)
async def test_a_link_that_fails_costs_time_and_nothing_else(
    scene: Scene, strike: Callable[[Scene, RunningAgent], Awaitable[None]]
) -> None:
    async with scene.device.agent() as (running, recording):
        release = scene.assign()
        await strike(scene, running)
        await check_whole(running, recording, release)
        assert running.ledger()["retransmitted"] == 0


async def test_a_process_that_ends_again_and_again_goes_on_where_it_was(scene: Scene) -> None:
    release = scene.assign()
    scene.link.rate = 600_000
    for share in (1, 2, 3, 4):
        async with scene.device.agent() as (running, recording):
            least_bytes = share * 100_000
            await until(lambda least=least_bytes: sum(running.ledger().values()) > least)  # type: ignore[misc]
            assert recording.asked_again == []
    scene.link.rate = 0
    async with scene.device.agent() as (running, recording):
        await check_whole(running, recording, release)
        assert running.ledger()["retransmitted"] == 0


async def test_a_server_that_is_killed_in_mid_stream_is_gone_on_with_when_it_is_back(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(KilledServer(tmp_path / "server"))
        version = await push(server.address, tiny_parts(1, WIDTH), block_size_bytes=64 * 1024)
        link = await stack.enter_async_context(FaultyLink(server.address, to_device_bytes_per_second=300_000))
        device = Device(tmp_path / "store", link.address)
        release = device.assign(version)
        async with device.agent() as (running, recording):
            for least_bytes in (50_000, 250_000):
                await until(lambda least=least_bytes: sum(running.ledger().values()) > least)  # type: ignore[misc]
                server.kill()
                await waits(running)
                await server.start()
            link.rate = 0
            await check_whole(running, recording, release)
            assert running.ledger()["retransmitted"] == 0


async def refs_of(scene: Scene) -> Manifest:
    """The version's manifest."""
    release = scene.device.assign(scene.version)
    async with GrpcLink(scene.link.address) as link:
        return open_frame(await link.manifest(release.manifest_digest), release)


async def test_wrong_bytes_come_again_and_are_counted(scene: Scene) -> None:
    manifest = await refs_of(scene)
    base, shard = manifest.blocks[0].blobs[0], manifest.blocks[1].blobs[1]
    times = Counter({base.digest: 2, shard.digest: 1, scene.version.manifest_digest.hex(): 1})
    scene.device.spoil = lambda link: WrongBytes(link, times)
    async with scene.device.agent() as (running, recording):
        release = scene.assign()
        await check_whole(running, recording, release)
        frame_bytes = running.store.sizes()[release.manifest_digest]
        assert running.ledger()["retransmitted"] == 2 * base.size_bytes + shard.size_bytes + frame_bytes
        assert recording.asked[base.digest] == 3


@pytest.mark.parametrize("where", ["base", "shard", "manifest"])
async def test_bytes_that_stay_wrong_are_given_up_with_a_reason(scene: Scene, where: str) -> None:
    manifest = await refs_of(scene)
    digest = {
        "base": manifest.blocks[0].blobs[0].digest,
        "shard": manifest.blocks[0].blobs[2].digest,
        "manifest": scene.version.manifest_digest.hex(),
    }[where]
    scene.device.spoil = lambda link: WrongBytes(link, Counter({digest: 1000}))
    async with scene.device.agent() as (running, recording):
        scene.assign()
        await until(lambda: running.fault() == "integrity")
        await until(lambda: running.agent.status().phase == "failed")
        models = running.agent.keeper.models()
        assert len(models) == (where == "shard"), "with wrong metadata or bases nothing answers"
        assert running.agent.status().level == (6 if where == "shard" else 0)
        assert not running.store.blobs.has(digest)
        assert recording.asked[digest] == (0 if where == "manifest" else 3)


async def test_too_many_bytes_are_cut_and_counted(scene: Scene) -> None:
    manifest = await refs_of(scene)
    base = manifest.blocks[0].blobs[0]
    scene.device.spoil = lambda link: TooManyBytes(link, base.digest, 1000)
    async with scene.device.agent() as (running, recording):
        release = scene.assign()
        await check_whole(running, recording, release)
        assert running.ledger()["retransmitted"] == 1000


async def test_a_bomb_is_refused(scene: Scene) -> None:
    scene.device.spoil = Bomb
    async with scene.device.agent() as (running, recording):
        scene.assign()
        await until(lambda: running.fault() == "integrity")
        assert running.agent.keeper.models() == {}
        assert not recording.asked


@pytest.mark.parametrize("off_seconds", [-YEAR_SECONDS, YEAR_SECONDS])
async def test_a_clock_that_is_wrong_by_a_year_changes_nothing(scene: Scene, off_seconds: int) -> None:
    scene.device.clock = WrongClock(off_seconds)
    scene.link.cut_after(30_000)
    async with scene.device.agent() as (running, recording):
        release = scene.assign()
        await check_whole(running, recording, release)
        assert running.ledger()["retransmitted"] == 0
