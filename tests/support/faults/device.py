"""A device's agent, whole, that fetches from a real server over a link with faults."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from nestfleet.v1 import catalog_pb2, control_pb2

from common.clock import Clock, SystemClock
from common.topics import Topic
from device_agent.agent import Agent, Outside
from device_agent.inference.served import ServedModel
from device_agent.link.backoff import Backoff
from device_agent.link.grpc_link import GrpcLink
from device_agent.link.server import ServerLink
from device_agent.sensors.guarded import Sensors
from device_agent.settings import Settings
from device_agent.store.records import Release
from device_agent.store.store import Store
from tests.support.faults.links import Recording
from tests.support.fleet import PLENTY_BYTES, Memory, MemoryControl, RunningAgent


@dataclass
class Device:
    """A store, and how its agents reach the server.

    Attributes:
        folder: The store.
        address: Of the server, or of a link to it.
        spoil: Puts a fault around the link.
        clock: The agent's.
        chunk_seconds: How long an agent waits for a piece.
    """

    folder: Path
    address: str
    spoil: Callable[[ServerLink], ServerLink] = lambda link: link
    clock: Clock = field(default_factory=SystemClock)
    chunk_seconds: float = 1.0
    control: MemoryControl = field(default_factory=MemoryControl)
    generation: int = 0

    def assign(self, version: catalog_pb2.Version) -> Release:
        """The operator wants this version here."""
        self.generation += 1
        message = control_pb2.Assignment(
            device_id="board",
            generation=self.generation,
            ref=version.ref,
            manifest_digest=version.manifest_digest,
            manifest_size_bytes=version.manifest_size_bytes,
        )
        self.control.say(Topic.ASSIGNMENT, message.SerializeToString())
        return Release(
            version.ref.model, version.ref.version, version.manifest_digest.hex(), version.manifest_size_bytes
        )

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[tuple[RunningAgent, Recording]]:
        """An agent on the store until the block ends, and what it asked the server for."""
        store = Store.open(self.folder, "board")
        settings = replace(
            Settings(),
            device_id="board",
            store_dir=self.folder,
            memory_budget_bytes=PLENTY_BYTES,
            disk_reserve_bytes=0,
        )
        async with GrpcLink(self.address, call_seconds=2, chunk_seconds=self.chunk_seconds) as link:
            recording = Recording(self.spoil(link), store.blobs.has)
            outside = Outside(
                server=recording,
                control=self.control,
                load=ServedModel.load,
                sensors=Sensors([Memory()]),
                clock=self.clock,
                backoff=lambda: Backoff(first_seconds=0.02, longest_seconds=0.2),
                started_unix_ms=0,
                session_id="session",
            )
            agent = Agent(settings, store, outside)
            task = asyncio.create_task(agent.run())
            try:
                yield RunningAgent(agent, store, task), recording
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                store.close()
