"""Several real models on an agent that is a process, over real gRPC and MQTT; and its light start."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest
from nestfleet.v1 import catalog_pb2, fleet_pb2

from device_agent.inference.integer.engines.choice import choose_engine
from device_agent.store.kernel_choices import FILE_NAME
from server.cli.device_models import device_models
from server.cli.rollout import Outcome, outcome
from server.client.fleet import FleetClient
from tests.support.agent_process import AgentProcess, agent_process
from tests.support.pushes import SAMPLES, push, sample_part, tiny_parts
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until

WIDTH = 64
BARE_RSS_BYTES = 150 << 20  # with torch it is some 100 MiB more than this
_Result = TypeVar("_Result")


class Site:
    """A server and its operator."""

    def __init__(self, server: RunningServer, folder: Path, stack: ExitStack) -> None:
        self.server, self.folder, self._stack = server, folder, stack
        self._client = stack.enter_context(FleetClient(server.addresses.grpc))

    def start(self) -> AgentProcess:
        return self._stack.enter_context(agent_process(self.folder, "board", self.server.addresses.grpc))

    async def push(self, model: str, seed: int, *, bad: bool = False) -> catalog_pb2.Version:
        parts, fields = tiny_parts(seed, WIDTH), dict[str, Any]()
        if bad:
            labels = np.arange(4)  # nothing that it was trained for
            parts = {**parts, SAMPLES: sample_part(4, labels=labels)}
            fields["min_agreement"] = 1.0
        return await push(self.server.addresses.grpc, parts, model=model, **fields)

    async def ask(self, call: Callable[[FleetClient], _Result]) -> _Result:
        return await asyncio.to_thread(lambda: call(self._client))

    async def device(self) -> fleet_pb2.Device:
        return await self.ask(lambda client: client.get_device("board"))

    async def online(self) -> bool:
        devices = await self.ask(lambda client: client.list_devices())
        return any(device.online for device in devices)

    async def assign(self, *refs: tuple[str, int], beside: bool = False) -> None:
        (name, number), *further = refs
        await self.ask(
            lambda client: client.assign(name, number, device_ids=["board"], further=further, beside=beside)
        )

    async def stands(self, wanted: Outcome, **models: tuple[int, int]) -> bool:
        """Whether the server knows the assignment's outcome, and of each model version and level."""
        device = await self.device()
        told = {
            model.state.model: (model.state.proven.version, model.state.level)
            for model in device_models(device)
        }
        return outcome(device) is wanted and told == models


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    with ExitStack() as stack:
        async with running_server(tmp_path / "server") as server:
            yield Site(server, tmp_path, stack)


async def infer(agent: AgentProcess, model: str) -> tuple[int, Any, Any]:
    """HTTP status, and version and level of the answer."""
    url = f"{agent.url()}/v2/models/{model}"
    async with httpx.AsyncClient(timeout=60) as client:
        card = (await client.get(url)).json()
        name = card["inputs"][0]["name"] if "inputs" in card else "image"
        tensor = {"name": name, "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}
        answer = await client.post(f"{url}/infer", json={"inputs": [tensor]})
        body = answer.json()
        return answer.status_code, body.get("model_version"), body.get("parameters", {}).get("level")


async def own_words(agent: AgentProcess) -> str:
    """What ``nestfleet-agent status`` says."""
    command = [sys.executable, "-m", "device_agent", "status", "--store-dir", str(agent.store_dir)]
    return await asyncio.to_thread(lambda: subprocess.check_output(command, text=True, timeout=60))


async def test_two_models_share_an_agent_from_the_first_assignment_to_the_last(site: Site) -> None:
    await site.push("eyes", 1)
    await site.push("ears", 2)
    agent = site.start()
    await until(site.online)
    await site.assign(("eyes", 1), ("ears", 1))
    await until(lambda: site.stands(Outcome.RUNS, eyes=(1, 8), ears=(1, 8)))
    assert await infer(agent, "eyes") == (200, "1", 8)
    assert await infer(agent, "ears") == (200, "1", 8)

    full = (await agent.status())["models"]
    await site.ask(lambda client: client.set_memory_budget("board", 1))
    await until(lambda: site.stands(Outcome.RUNS, eyes=(1, 4), ears=(1, 4)))
    assert await infer(agent, "eyes") == (200, "1", 4)
    assert await infer(agent, "ears") == (200, "1", 4)
    low = (await agent.status())["models"]
    assert all(less["resident_bytes"] < more["resident_bytes"] for less, more in zip(low, full, strict=True))
    await site.ask(lambda client: client.set_memory_budget("board", 0))
    await until(lambda: site.stands(Outcome.RUNS, eyes=(1, 8), ears=(1, 8)))

    await site.push("ears", 3, bad=True)
    await site.assign(("ears", 2), beside=True)
    await until(lambda: site.stands(Outcome.REFUSED, eyes=(1, 8), ears=(1, 8)))
    state = (await site.device()).state
    assert [(model.model, model.fault.code) for model in state.models] == [
        ("eyes", ""),
        ("ears", "self_test_failed"),
    ]
    assert await infer(agent, "eyes") == (200, "1", 8)
    assert await infer(agent, "ears") == (200, "1", 8)

    lines = (await own_words(agent)).splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("assigned")] == ["eyes:1", "ears:2"]
    assert [line.split()[-1] for line in lines if line.startswith("proven")] == ["eyes:1", "ears:1"]
    assert lines[-1].startswith("fault      ears:2: self_test_failed: Self-test at ")

    await site.assign(("eyes", 1))
    await until(lambda: site.stands(Outcome.RUNS, eyes=(1, 8)))
    assert (await infer(agent, "ears"))[0] == 404
    assert await infer(agent, "eyes") == (200, "1", 8)

    agent.kill()
    assert "proven     eyes:1" in (await own_words(agent)).splitlines()
    assert "ears" not in await own_words(agent)
    agent.start()
    await agent.ready()
    await until(lambda: agent.runs(1, 8))
    assert (await infer(agent, "ears"))[0] == 404


async def test_with_nothing_to_run_the_agent_is_light(site: Site) -> None:
    await site.push("eyes", 1)
    agent = site.start()
    await until(site.online)
    bare = await agent.status()
    assert bare["broker_connected"]
    assert not bare["runtime_loaded"]
    assert bare["rss_bytes"] < BARE_RSS_BYTES
    assert 0 < bare["start_seconds"] < 20
    await site.assign(("eyes", 1))
    await until(lambda: agent.runs(1, 8))
    loaded = await agent.status()
    assert loaded["runtime_loaded"]
    assert loaded["rss_bytes"] > BARE_RSS_BYTES
    assert loaded["start_seconds"] == bare["start_seconds"]
    if choose_engine("auto") is not None:
        await until((agent.store_dir / FILE_NAME).exists)
    print(f"start {bare['start_seconds']} s, RSS {bare['rss_bytes']} then {loaded['rss_bytes']}")  # noqa: T201
