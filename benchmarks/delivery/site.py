"""A server with one version, and an agent that reaches it over a link; both processes of their own."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from benchmarks.delivery.nets import net
from benchmarks.demo.processes import Child, Children
from benchmarks.links.faulty_link import FaultyLink
from common.manifest import Manifest, to_json
from server.client.fleet import FleetClient
from server.client.push import push
from server.delivery.fetch import manifest_frame

MODEL: Final = "net"
DEVICE: Final = "board"
_WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Site:
    """What runs.

    Attributes:
        folder: For everything on disk.
        children: The processes.
        operator: Asks the server.
        server: Its address.
        manifest: The version.
    """

    folder: Path
    children: Children
    operator: FleetClient
    server: str
    manifest: Manifest

    @property
    def needed_bytes(self) -> int:
        """All that a device fetches."""
        refs = {ref.digest: ref.size_bytes for ref in self.manifest.device_refs()}
        return sum(refs.values()) + len(manifest_frame(to_json(self.manifest)))

    @property
    def base_bytes(self) -> int:
        """The bases alone."""
        return sum(
            {block.blobs[0].digest: block.blobs[0].size_bytes for block in self.manifest.blocks}.values()
        )

    async def agent(self, link: FaultyLink) -> Agent:
        """An agent that is enrolled and waits for its first goal."""
        ready_file = self.folder / "agent.ready.json"
        settings = {
            "DEVICE_ID": DEVICE,
            "SERVER": link.address,
            "STORE_DIR": str(self.folder / "store"),
            "HTTP_LISTEN": "127.0.0.1:0",
            "GRPC_LISTEN": "off",
            "MEMORY_BUDGET_BYTES": "1GiB",
            "DISK_RESERVE_BYTES": "0",
            "READY_FILE": str(ready_file),
        }
        variables = {f"NESTFLEET_AGENT_{name}": value for name, value in settings.items()}
        child = self.children.start("agent", ["device_agent", "run"], variables, ready_file)
        await until(child.is_ready, "the agent is ready", child)
        agent = Agent(str(child.addresses()["http"]), child)
        await until(lambda: asyncio.to_thread(self._online), "the agent is known to the server", child)
        await asyncio.sleep(3)  # it has nothing to do, and is measured as it is then
        return agent

    async def assign(self) -> float:
        """The agent has a goal; when that was, by ``time.perf_counter``."""
        began = time.perf_counter()
        await asyncio.to_thread(lambda: self.operator.assign(MODEL, all_devices=True))
        return began

    def _online(self) -> bool:
        return any(device.online for device in self.operator.list_devices())


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent.

    Attributes:
        url: Where it answers.
        child: Its process.
    """

    url: str
    child: Child

    async def status(self) -> dict[str, Any]:
        """What it says of itself."""
        async with httpx.AsyncClient(timeout=10) as client:
            tree: dict[str, Any] = (await client.get(f"{self.url}/nestfleet/status")).json()
            return tree

    async def first_answer(self, seconds: float) -> float:
        """When it first answered an inference, by ``time.perf_counter``."""
        model = f"{self.url}/v2/models/{MODEL}"
        async with httpx.AsyncClient(timeout=seconds) as client:

            async def answers() -> bool:
                known = await client.get(model)
                if known.status_code != httpx.codes.OK:
                    return False
                name = known.json()["inputs"][0]["name"]
                tensor = {"name": name, "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [0.5] * 64}
                answer = await client.post(f"{model}/infer", content=json.dumps({"inputs": [tensor]}))
                return answer.status_code == httpx.codes.OK

            await until(answers, "the agent answers", self.child, seconds=seconds)
            return time.perf_counter()


@asynccontextmanager
async def site(folder: Path, width: int) -> AsyncIterator[Site]:
    """A server that holds one version of ``net(width)``."""
    with Children(folder) as children:
        ready_file = folder / "server.ready.json"
        settings = {
            "DATA_DIR": str(folder / "server"),
            "LISTEN": "127.0.0.1:0",
            "BROKER_LISTEN": "127.0.0.1:0",
            "READY_FILE": str(ready_file),
        }
        variables = {f"NESTFLEET_SERVER_{name}": value for name, value in settings.items()}
        child = children.start("server", ["server.cli.main", "server"], variables, ready_file)
        await until(child.is_ready, "the server serves", child)
        address = str(child.addresses()["grpc"])
        model, inputs = net(width)
        await asyncio.to_thread(lambda: push(model, inputs, name=MODEL, server=address))
        with FleetClient(address) as operator:
            manifest = await asyncio.to_thread(lambda: operator.get_version(MODEL).manifest)
            yield Site(folder, children, operator, address, manifest)


async def until(
    condition: Callable[[], Any], what: str, child: Child, *, seconds: float = _WAIT_SECONDS
) -> None:
    """The condition, a plain or an async callable, has been true.

    Raises:
        TimeoutError: It was not in time.
    """
    deadline = time.monotonic() + seconds
    while True:
        found = condition()
        if asyncio.iscoroutine(found) or asyncio.isfuture(found):
            found = await found
        if found:
            return
        child.check_running()
        if time.monotonic() > deadline:
            raise TimeoutError(f"Not within {seconds:.0f} s: {what}.")
        await asyncio.sleep(_POLL_SECONDS)
