"""The agent as a process, against a real server and a real broker."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from nestfleet.v1 import catalog_pb2, catalog_pb2_grpc, control_pb2, fleet_pb2, fleet_pb2_grpc

from common.blob_codec import decompress
from common.manifest import Manifest, from_json
from tests.support.agent_process import AgentProcess, agent_process
from tests.support.ports import kept_port
from tests.support.pushes import push, tiny_parts
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until

WIDTH = 256  # about half a MiB at full level, in several blobs


class Fleet:
    """A server, its operator, and agents on demand."""

    def __init__(self, server: RunningServer, folder: Path, stack: ExitStack) -> None:
        self.server, self.folder, self._stack = server, folder, stack
        self._fleet: fleet_pb2_grpc.FleetServiceAsyncStub = fleet_pb2_grpc.FleetServiceStub(server.channel)
        self._catalog: catalog_pb2_grpc.CatalogServiceAsyncStub = catalog_pb2_grpc.CatalogServiceStub(
            server.channel
        )

    def start(self, device_id: str, **settings: object) -> AgentProcess:
        agent = agent_process(self.folder, device_id, self.server.addresses.grpc, **settings)
        return self._stack.enter_context(agent)

    async def push(self, seed: int) -> Manifest:
        version = await push(self.server.addresses.grpc, tiny_parts(seed, WIDTH), block_size_bytes=64 * 1024)
        answer = await self._catalog.GetVersion(catalog_pb2.GetVersionRequest(ref=version.ref))
        return from_json(decompress(answer.manifest_zstd, version.manifest_size_bytes))

    async def assign(self, version: int, **more: Any) -> None:
        ref = catalog_pb2.VersionRef(model="tiny", version=version)
        await self._fleet.Assign(fleet_pb2.AssignRequest(ref=ref, all_devices=True, **more))

    async def limit(
        self, device_id: str, budget_bytes: int, transfer: control_pb2.TransferLimits | None = None
    ) -> None:
        await self._fleet.SetLimits(
            fleet_pb2.SetLimitsRequest(
                device_id=device_id, memory_budget_bytes=budget_bytes, transfer=transfer
            )
        )

    async def device(self, device_id: str) -> fleet_pb2.Device:
        devices = (await self._fleet.ListDevices(fleet_pb2.ListDevicesRequest())).devices
        return next((item for item in devices if item.device_id == device_id), fleet_pb2.Device())

    async def online(self, device_id: str) -> bool:
        return bool((await self.device(device_id)).online)

    async def savings(self, device_id: str) -> fleet_pb2.Savings:
        rows = (await self._fleet.GetSavings(fleet_pb2.GetSavingsRequest())).devices
        return next((row for row in rows if row.device_id == device_id), fleet_pb2.Savings())

    async def agrees(self, agent: AgentProcess, device_id: str) -> bool:
        """Whether server and device have counted the same payload; overhead grows with every report of it."""
        own = (await agent.status())["ledger"]
        row, now = await self.savings(device_id), (await agent.status())["ledger"]
        seen = {kind: getattr(row, f"{kind}_bytes") for kind in own}
        assert row.moved_bytes == sum(seen.values())
        assert seen["overhead"] <= now["overhead"]
        return bool(payload(seen) == payload(own) and seen["overhead"])


@pytest.fixture
async def fleet(tmp_path: Path) -> AsyncIterator[Fleet]:
    with ExitStack() as stack:
        async with running_server(tmp_path / "server") as server:
            yield Fleet(server, tmp_path, stack)


def payload(counts: dict[str, int]) -> dict[str, int]:
    return {kind: count_bytes for kind, count_bytes in counts.items() if kind != "overhead"}


def wire(manifest: Manifest) -> int:
    refs = {ref.digest: ref.size_bytes for block in manifest.blocks for ref in block.blobs}
    return sum(refs.values())


async def infer(agent: AgentProcess) -> dict[str, Any]:
    url = f"{agent.url()}/v2/models/tiny"
    async with httpx.AsyncClient(timeout=60) as client:
        name = (await client.get(url)).json()["inputs"][0]["name"]
        tensor = {"name": name, "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}
        answer: dict[str, Any] = (await client.post(f"{url}/infer", json={"inputs": [tensor]})).json()
        return answer


async def test_a_whole_life(fleet: Fleet) -> None:
    manifest = await fleet.push(1)
    budget_file = fleet.folder / "budget"
    budget_file.write_text("64 MiB")
    agent = fleet.start("kitchen", budget_file=budget_file, download_limit_bytes_per_second=512 * 1024)
    await until(lambda: fleet.online("kitchen"))
    await fleet.assign(1)

    async def in_the_middle() -> bool:
        status = await agent.status()
        share: float = status["fetch_done_bytes"] / max(status["fetch_total_bytes"], 1)
        return 0.2 < share < 0.8

    await until(in_the_middle)
    agent.kill()
    await until(lambda: offline(fleet, "kitchen"))
    agent.start()
    await agent.ready()
    await until(lambda: agent.runs(1, 8))
    await until(lambda: fleet.agrees(agent, "kitchen"))
    savings = await fleet.savings("kitchen")
    assert savings.base_bytes + savings.shard_bytes == wire(manifest)
    assert savings.retransmitted_bytes == savings.update_bytes == 0
    answer = await infer(agent)
    assert answer["parameters"]["level"] == 8
    assert answer["outputs"][0]["shape"] == [1, 10]

    budget_file.write_text("1")
    await until(lambda: agent.runs(1, 4))
    assert (await infer(agent))["parameters"]["level"] == 4
    budget_file.write_text("64 MiB")
    agent.process.send_signal(signal.SIGHUP)
    await until(lambda: agent.runs(1, 8))
    await fleet.limit("kitchen", 1)
    await until(lambda: agent.runs(1, 4))
    await fleet.limit("kitchen", 0)
    await until(lambda: agent.runs(1, 8))
    assert await fleet.agrees(agent, "kitchen")
    still = await fleet.savings("kitchen")
    assert still.moved_bytes - still.overhead_bytes == savings.moved_bytes - savings.overhead_bytes

    assert await agent.stop() == 0
    await until(lambda: offline(fleet, "kitchen"))


async def offline(fleet: Fleet, device_id: str) -> bool:
    return not await fleet.online(device_id)


async def test_a_monthly_budget_holds_back_and_the_operator_reads_why_and_raises_it(fleet: Fleet) -> None:
    manifest = await fleet.push(1)
    agent = fleet.start("kitchen", monthly_budget_bytes="200KiB")
    await until(lambda: fleet.online("kitchen"))
    await fleet.assign(1)

    async def held() -> bool:
        return (await fleet.device("kitchen")).state.hold.limit == "monthly_budget"

    await until(held)
    state = (await fleet.device("kitchen")).state
    assert state.month_bytes > 100 << 10
    # What crosses the sockets while the stream is being cut counts too, and as overhead, a moment later.
    ledger = (await agent.status())["ledger"]
    assert sum(ledger[kind] for kind in ("metadata", "base", "shard")) <= 200 << 10
    assert "200.0 KiB are used" in state.hold.detail
    await fleet.limit("kitchen", 0, control_pb2.TransferLimits(monthly_bytes=1 << 30))
    await until(lambda: agent.runs(1, 8))
    await until(lambda: fleet.agrees(agent, "kitchen"))
    assert not (await fleet.device("kitchen")).state.HasField("hold")
    savings = await fleet.savings("kitchen")
    assert savings.base_bytes + savings.shard_bytes == wire(manifest)
    assert savings.retransmitted_bytes == 0


async def test_a_second_agent_with_the_same_id_ends_with_one_clear_line(fleet: Fleet) -> None:
    first = fleet.start("kitchen")
    await until(lambda: fleet.online("kitchen"))
    (fleet.folder / "elsewhere").mkdir()
    second = AgentProcess(fleet.folder / "elsewhere", "kitchen", fleet.server.addresses.grpc)
    second.start()
    assert await asyncio.to_thread(second.process.wait, 60) == 1
    last = second.log.strip().splitlines()[-1]
    assert last.startswith("nestfleet-agent: Another device is enrolled as kitchen.")
    assert "Traceback" not in second.log
    assert first.process.poll() is None


async def test_wrong_settings_end_with_one_clear_line(tmp_path: Path) -> None:
    agent = AgentProcess(tmp_path, "kitchen", "127.0.0.1:1", memory_budget_bytes="12 MB")
    agent.start()
    assert await asyncio.to_thread(agent.process.wait, 60) == 1
    only = agent.log.splitlines()
    assert len(only) == 1
    assert only[0].startswith("nestfleet-agent: Setting 'memory_budget_bytes': '12 MB' is no size. Write")


async def test_with_server_and_broker_away_it_waits_and_says_so(tmp_path: Path) -> None:
    with agent_process(tmp_path, "kitchen", "127.0.0.1:1") as agent:
        await agent.ready()
        assert (await agent.status())["proven"] is None
        command = [
            sys.executable,
            "-m",
            "device_agent",
            "status",
            "--json",
            "--store-dir",
            str(agent.store_dir),
        ]
        tree = json.loads(await asyncio.to_thread(lambda: subprocess.check_output(command, timeout=60)))
        assert (tree["running"], tree["device_id"], tree["broker_connected"]) == (True, "kitchen", False)
        assert await agent.stop() == 0


async def test_a_server_that_comes_back_with_another_broker_is_found_again(tmp_path: Path) -> None:
    with ExitStack() as stack:
        listen = f"127.0.0.1:{stack.enter_context(kept_port())}"
        async with running_server(tmp_path / "server", listen=listen) as server:
            fleet = Fleet(server, tmp_path, stack)
            manifest, changed = await fleet.push(1), await fleet.push(2)
            agent = fleet.start("kitchen")
            await until(lambda: fleet.online("kitchen"))
            await fleet.assign(1)
            await until(lambda: agent.runs(1, 8))
        assert await agent.runs(1, 8)
        async with running_server(tmp_path / "server", listen=listen) as again:
            assert again.addresses.broker != server.addresses.broker
            fleet = Fleet(again, tmp_path, stack)
            await fleet.assign(2)
            await until(lambda: agent.runs(2, 8))
            await until(lambda: fleet.agrees(agent, "kitchen"))
            known = {ref.digest for ref in manifest.device_refs()}
            fresh = {ref.digest: ref for block in changed.blocks for ref in block.blobs}
            expected = sum(ref.size_bytes for digest, ref in fresh.items() if digest not in known)
            moved = await fleet.savings("kitchen")
            assert 0 < moved.update_bytes + moved.delta_bytes <= expected
