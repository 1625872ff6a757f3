"""An agent as a process of its own, so that it can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.support.waiting import until

ROOT = Path(__file__).parents[2]


class AgentProcess:
    """A running agent on a store that outlives it."""

    def __init__(self, folder: Path, device_id: str, server: str, **settings: object) -> None:
        self.store_dir = folder / device_id
        self._ready_file = folder / f"{device_id}.ready.json"
        self._log = folder / f"{device_id}.log"
        said = {
            "device_id": device_id,
            "server": server,
            "store_dir": self.store_dir,
            "http_listen": "127.0.0.1:0",
            "grpc_listen": "127.0.0.1:0",
            "memory_budget_bytes": "64MiB",
            "disk_reserve_bytes": 0,
            "threads": 1,
            "ready_file": self._ready_file,
            "heartbeat_seconds": 1,
            **settings,
        }
        self._environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("NESTFLEET_")},
            **{f"NESTFLEET_AGENT_{name.upper()}": str(value) for name, value in said.items()},
            "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}",
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8") if self._log.exists() else ""

    def start(self) -> None:
        self._ready_file.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "device_agent", "run"],
                cwd=self._log.parent,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    async def ready(self) -> None:
        await until(self._ready_file.exists)

    def kill(self) -> None:
        """SIGKILL, and wait for the end."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(60)

    async def stop(self) -> int:
        """SIGTERM; the exit status."""
        self.process.terminate()
        return await asyncio.to_thread(self.process.wait, 60)

    def url(self) -> str:
        return str(json.loads(self._ready_file.read_bytes())["http"])

    async def status(self) -> dict[str, Any]:
        """What the agent says of itself; empty while it says nothing."""

        try:
            async with httpx.AsyncClient(timeout=60) as client:
                tree: dict[str, Any] = (await client.get(f"{self.url()}/nestfleet/status")).json()
                return tree
        except (OSError, httpx.HTTPError, ValueError):
            return {}

    async def runs(self, version: int, level: int) -> bool:
        """Whether exactly this answers and everything has settled."""
        status = await self.status()
        proven = status.get("proven") or {}
        settled = status.get("phase") in {"idle", "failed"}
        return settled and (proven.get("version"), status["level"]) == (version, level)


@contextmanager
def agent_process(folder: Path, device_id: str, server: str, **settings: object) -> Iterator[AgentProcess]:
    """A started agent; no process is left afterwards."""
    agent = AgentProcess(folder, device_id, server, **settings)
    agent.start()
    try:
        yield agent
    finally:
        if agent.process.poll() is None:
            agent.kill()
