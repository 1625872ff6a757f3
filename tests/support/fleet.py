"""A fleet without sockets: server, control plane and runtime in memory, with faults on order.

The versions are real blocks of random codes, the pager that checks them is the real one; only the network
that would compute is missing.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from nestfleet.v1 import catalog_pb2, control_pb2
from numpy.typing import NDArray

from common.blob_codec import decode_bytes, encode_bytes
from common.clock import Clock, SystemClock
from common.digest import sha256_hex, to_wire
from common.errors import ConflictError, LinkError, NotFoundError, SelfTestError
from common.manifest import Manifest, TensorPart, to_json
from common.topics import Topic
from device_agent.agent import Agent, Outside
from device_agent.inference.answering import Answer, TensorSpec
from device_agent.link.backoff import Backoff
from device_agent.link.control import Listener
from device_agent.link.server import Chunk, DeltaOffer, Wanted
from device_agent.residency.block_loader import ReadBlob
from device_agent.residency.pager import Pager, PageReport
from device_agent.residency.policy import total_bytes
from device_agent.sensors.guarded import Sensors
from device_agent.sensors.port import Sensor
from device_agent.sensors.readings import Readings
from device_agent.settings import Settings
from device_agent.store.records import Broker, Release
from device_agent.store.store import Store
from device_agent.update.served import Load
from device_agent.update.status import Status
from tests.support.blocks import random_version
from tests.support.deltas import DeltaDesk

CHUNK_BYTES = 64
PLENTY_BYTES = 1 << 30


@dataclass
class TestVersion:
    """A version and its blobs."""

    __test__ = False
    manifest: Manifest
    blobs: dict[str, bytes]

    @property
    def release(self) -> Release:
        data = to_json(self.manifest)
        return Release(self.manifest.model, self.manifest.version, sha256_hex(data), len(data))

    @property
    def device_blobs(self) -> set[str]:
        """What a device holds of it in the end."""
        return {ref.digest for ref in self.manifest.device_refs()}

    @property
    def frame(self) -> bytes:
        return zstandard.ZstdCompressor(level=3).compress(to_json(self.manifest))

    def bytes_at(self, level: int) -> int:
        """Memory with every block at a level."""
        return total_bytes(self.manifest, self.manifest.nearest(level))

    def wire(self, level: int, *, without: TestVersion | None = None) -> int:
        """Bytes of all block blobs up to a level, each once, without those of another version."""
        refs = {
            ref.digest: ref
            for block in self.manifest.blocks
            for ref, reached in zip(block.blobs, block.levels(self.manifest.levels), strict=True)
            if reached <= block.nearest(self.manifest.levels, level)
        }
        known = set(without.blobs) if without else set()
        return sum(ref.size_bytes for digest, ref in refs.items() if digest not in known)

    @property
    def metadata(self) -> int:
        refs = {ref.digest: ref for ref in (self.manifest.graph, self.manifest.self_test)}
        return len(self.frame) + sum(ref.size_bytes for ref in refs.values())


def make_version(
    number: int = 1,
    *,
    model: str = "net",
    seed: int = 0,
    changed: int = 3,
    mixed: bool = False,
    scale: int = 1,
    near: bool = False,
) -> TestVersion:
    """A version of four blocks; its last ``changed`` blocks of tensors depend on the number.

    Blocks have ``scale`` times as many rows as without. With ``near`` the version is little different from
    version 1 of the same seed, where all blocks of tensors changed.

    A mixed one has the base of its first block at 6 bits and that of the second at 8, floats of each level in
    both and in the third, and a fidelity report.
    """
    first = seed + 1000
    kept = _blocks(first if near else seed, scale, mixed=mixed)
    fresh = _blocks(first if near else seed + 1000 * number, scale, mixed=mixed, drift=number if near else 0)
    blocks = (*kept[0][: 3 - changed], *fresh[0][3 - changed : 3], kept[0][3])
    blobs = {**kept[1], **fresh[1]}
    graph, graph_ref = encode_bytes(f"graph of {model}".encode() * 9, compress=True)
    test, test_ref = encode_bytes(f"self-test {model} {number}".encode() * 9, compress=True)
    report, report_ref = encode_bytes(f"fidelity {model} {number}".encode(), compress=True)
    blobs |= {graph_ref.digest: graph, test_ref.digest: test, report_ref.digest: report}
    fidelity = report_ref if mixed else None
    manifest = Manifest(model, number, (4, 6, 8), "floor", graph_ref, test_ref, blocks, fidelity)
    named = {ref.digest for ref in manifest.blob_refs()}
    return TestVersion(manifest, {digest: data for digest, data in blobs.items() if digest in named})


def _blocks(
    seed: int, scale: int, *, mixed: bool, drift: int = 0
) -> tuple[tuple[Any, ...], dict[str, bytes]]:
    parts: list[tuple[list[TensorPart], Mapping[str, NDArray[Any]]]] = [
        ([TensorPart(f"w{index}", (rows, 40), 0, rows)], {})
        for index, rows in enumerate(range(6 * scale, 9 * scale, scale))
    ]
    floats: tuple[list[TensorPart], Mapping[str, NDArray[Any]]] = ([], {"bias": np.arange(5.0, dtype="f4")})
    version = random_version(
        (4, 6, 8),
        [*parts, floats],
        seed=seed,
        bases=(6, 8, 4, 4) if mixed else (),
        level_floats={index: [f"b{index}"] for index in range(len(parts))} if mixed else None,
        drift=drift,
    )
    return version.manifest.blocks, version.blobs


@dataclass
class MemoryServer:
    """``ServerLink`` on dictionaries.

    Attributes:
        away: Whether every call fails.
        cuts: Bytes after which the next streams break, first come first served.
        flips: Digest to how many more times it comes with a flipped bit.
        excess: Digest to bytes that come after its end.
        short: Digest to bytes at which its stream ends as if that were all.
        endless: Digests whose streams never end.
        gate: Streams wait at each chunk while it is closed.
        sent: Digest to bytes handed over so far.
        streams: Digest and offset of every blob whose turn came on a stream.
        deltas: What makes offers; None for a server that knows no deltas.
        asked: Blobs wanted and present in each block, of every question for deltas.
    """

    versions: list[TestVersion] = field(default_factory=list)
    away: bool = False
    refuse: bool = False
    cuts: list[int] = field(default_factory=list)
    flips: Counter[str] = field(default_factory=Counter)
    excess: dict[str, int] = field(default_factory=dict)
    short: dict[str, int] = field(default_factory=dict)
    endless: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    sent: Counter[str] = field(default_factory=Counter)
    streams: list[tuple[str, int]] = field(default_factory=list)
    enrolled: dict[str, bytes] = field(default_factory=dict)
    enrolments: int = 0
    deltas: DeltaDesk | None = None
    asked: list[tuple[tuple[int, ...], tuple[int, ...]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gate.set()

    async def enrol(self, device_id: str, enrolment_key: bytes) -> Broker:
        self._check()
        self.enrolments += 1
        if self.refuse or self.enrolled.setdefault(device_id, enrolment_key) != enrolment_key:
            raise ConflictError(f"Another device is enrolled as {device_id}.")
        return Broker("", 1883)

    async def manifest(self, digest: str) -> bytes:
        self._check()
        for version in self.versions:
            if version.release.manifest_digest == digest and digest not in self.gone:
                frame = self._spoilt(digest, version.frame)
                self.sent[digest] += len(frame)
                return frame
        raise NotFoundError("No version has this manifest.")

    async def blobs(self, wanted: Sequence[Wanted]) -> AsyncGenerator[Chunk, None]:
        self._check()
        left = self.cuts.pop(0) if self.cuts else 1 << 40
        for index, blob in enumerate(wanted):
            self.streams.append((blob.digest, blob.offset_bytes))
            async for chunk in self._chunks(index, blob):
                data = chunk.data[:left]
                left -= len(data)
                self.sent[blob.digest] += len(data)
                if data or not chunk.data:
                    yield replace(chunk, data=data, end=chunk.end and data == chunk.data)
                if data != chunk.data:
                    raise LinkError("The stream broke.")

    async def _chunks(self, index: int, blob: Wanted) -> AsyncIterator[Chunk]:
        digest, position = blob.digest, blob.offset_bytes
        try:
            data = self._data(digest)
        except NotFoundError as error:
            yield Chunk(index, b"", position, end=True, error=error)
            return
        whole = self._spoilt(digest, data)[: self.short.get(digest, len(data))]
        whole += b"?" * self.excess.get(digest, 0)
        endless = digest in self.endless
        while True:
            await self.gate.wait()
            self._check()
            chunk = whole[position : position + CHUNK_BYTES] or b"?" * CHUNK_BYTES * endless
            end = position + len(chunk) >= len(whole) and not endless
            yield Chunk(index, chunk, position, end)
            position += len(chunk)
            if end:
                return

    async def offer_deltas(
        self, wanted: str, held: str, blobs_per_block: Sequence[int], present_per_block: Sequence[int]
    ) -> Sequence[DeltaOffer]:
        self._check()
        self.asked.append((tuple(blobs_per_block), tuple(present_per_block)))
        known = {version.release.manifest_digest: version for version in self.versions}
        if not {wanted, held} <= set(known) - self.gone:
            raise NotFoundError("No version has this manifest.")
        if self.deltas is None:
            return ()
        return self.deltas.offers(
            (known[wanted].manifest, known[wanted].blobs),
            (known[held].manifest, known[held].blobs),
            blobs_per_block,
            present_per_block,
        )

    def _data(self, digest: str) -> bytes:
        if self.deltas is not None and digest in self.deltas.blobs and digest not in self.gone:
            return self.deltas.blobs[digest]
        for version in self.versions:
            if digest in version.blobs and digest not in self.gone:
                return version.blobs[digest]
        raise NotFoundError("No version names this blob.")

    def _spoilt(self, digest: str, data: bytes) -> bytes:
        if not self.flips[digest]:
            return data
        self.flips[digest] -= 1
        return bytes([data[0] ^ 1]) + data[1:]

    def _check(self) -> None:
        if self.away:
            raise LinkError("The server is away.")


class MemoryControl:
    """``ControlLink`` in memory: what is retained, and what was said."""

    connected = True

    def __init__(self) -> None:
        self.retained: dict[Topic, bytes] = {}
        self.goals: dict[Topic, bytes] = {}
        self.states: list[control_pb2.DeviceState] = []
        self._listener: Listener | None = None

    def publish(self, topic: Topic, payload: bytes) -> None:
        self.retained[topic] = payload
        if topic is Topic.STATE:
            self.states.append(control_pb2.DeviceState.FromString(payload))

    def moved(self) -> None:
        pass

    async def run(self, listener: Listener) -> None:
        self._listener = listener
        for topic, payload in self.goals.items():
            listener.on_message(topic, payload)
        await asyncio.Event().wait()

    def say(self, topic: Topic, payload: bytes) -> None:
        """The broker retains this for the device, and hands it over when it is there."""
        self.goals[topic] = payload
        if self._listener is not None:
            self._listener.on_message(topic, payload)


@dataclass
class MemoryRuntime:
    """Loads versions through the real pager; what their self-tests say is on order.

    Attributes:
        failing: Version and level that do not pass.
        surprises: Versions whose load fails with an error that nobody foresaw.
        hungry: Models whose load finds no memory.
        loads: Version and levels of every load.
        loaded: Model of every load.
        shares: Model and share of the budget, as they were told.
        proofs: Version and level of every self-test.
    """

    failing: set[tuple[int, int]] = field(default_factory=set)
    surprises: set[int] = field(default_factory=set)
    hungry: set[str] = field(default_factory=set)
    loads: list[tuple[int, tuple[int, ...]]] = field(default_factory=list)
    loaded: list[str] = field(default_factory=list)
    shares: list[tuple[str, int]] = field(default_factory=list)
    proofs: list[tuple[int, int]] = field(default_factory=list)
    on_load: Callable[[], None] = lambda: None

    def load(self, manifest: Manifest, read: ReadBlob, levels: Sequence[int]) -> MemoryServed:
        self.loads.append((manifest.version, tuple(levels)))
        self.loaded.append(manifest.model)
        self.on_load()
        if manifest.model in self.hungry:
            raise MemoryError
        if manifest.version in self.surprises:
            raise RuntimeError("nobody foresaw this")
        decode_bytes(read(manifest.graph.digest), manifest.graph)
        return MemoryServed(self, manifest, Pager(manifest, read, levels))


class MemoryServed:
    """A loaded version; answers with the sum of its dequantized level."""

    inputs = (TensorSpec("x", np.dtype(np.float32), (None, 1)),)
    outputs = inputs

    def __init__(self, runtime: MemoryRuntime, manifest: Manifest, pager: Pager) -> None:
        self._runtime = runtime
        self._pager = pager
        self.manifest = manifest
        self.name, self.version = manifest.model, manifest.version

    @property
    def levels(self) -> tuple[int, ...]:
        return self._pager.levels

    @property
    def level(self) -> int:
        return self._pager.snapshot.level

    @property
    def resident_bytes(self) -> int:
        return self._pager.snapshot.size_bytes

    @property
    def loaded_digest(self) -> str:
        return self._pager.snapshot.loaded_digest

    def prove(self) -> int:
        level = self.level
        self._runtime.proofs.append((self.version, level))
        if (self.version, level) in self._runtime.failing:
            raise SelfTestError(f"Self-test at {level} bits: it was told to fail.")
        return level

    def set_memory(self, memory_bytes: int) -> None:
        self._runtime.shares.append((self.name, memory_bytes))

    def set_levels(self, levels: Sequence[int]) -> PageReport:
        return self._pager.set_levels(levels)

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        return Answer(dict(inputs), self.level)


class Memory:
    """``Sensor`` of a board with plenty of memory, and nothing else."""

    def read(self) -> Readings:
        return Readings(memory_limit_bytes=PLENTY_BYTES)


@dataclass
class Board:
    """A device whose agent can be started, stopped and looked at; the store outlives the agent.

    ``load`` takes the place of the runtime in memory, ``sensor`` is what the board says of itself.
    """

    folder: Path
    server: MemoryServer
    control: MemoryControl = field(default_factory=MemoryControl)
    runtime: MemoryRuntime = field(default_factory=MemoryRuntime)
    settings: Settings = field(default_factory=Settings)
    generation: int = 0
    load: Load | None = None
    clock: Clock = field(default_factory=SystemClock)
    sensor: Sensor = field(default_factory=Memory)

    def __post_init__(self) -> None:
        self.settings = replace(
            self.settings,
            device_id="board",
            store_dir=self.folder,
            memory_budget_bytes=self.settings.memory_budget_bytes or PLENTY_BYTES,
            disk_reserve_bytes=self.settings.disk_reserve_bytes
            if self.settings.disk_reserve_bytes < 1 << 20
            else 0,
        )

    @asynccontextmanager
    async def agent(self) -> AsyncIterator[RunningAgent]:
        """An agent on the board's store, until the block ends."""
        store = Store.open(self.folder, "board", self.settings.disk_budget_bytes)
        outside = Outside(
            server=self.server,
            control=self.control,
            load=self.load or self.runtime.load,
            sensors=Sensors([self.sensor]),
            clock=self.clock,
            backoff=lambda: Backoff(first_seconds=0.01, longest_seconds=0.05),
            started_unix_ms=0,
            session_id="session",
        )
        agent = Agent(self.settings, store, outside)
        task = asyncio.create_task(agent.run())
        try:
            yield RunningAgent(agent, store, task)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            store.close()

    def assign(
        self,
        version: TestVersion,
        *further: TestVersion,
        max_level: int = 0,
        allow_older: bool = False,
        generation: int | None = None,
    ) -> None:
        self.generation = self.generation + 1 if generation is None else generation
        release = version.release
        message = control_pb2.Assignment(
            device_id="board",
            generation=self.generation,
            ref=catalog_pb2.VersionRef(model=release.model, version=release.version),
            manifest_digest=to_wire(release.manifest_digest),
            manifest_size_bytes=release.manifest_size_bytes,
            max_level=max_level,
            allow_older=allow_older,
            further=[
                control_pb2.FurtherVersion(
                    ref=catalog_pb2.VersionRef(model=other.release.model, version=other.release.version),
                    manifest_digest=to_wire(other.release.manifest_digest),
                    manifest_size_bytes=other.release.manifest_size_bytes,
                    max_level=max_level,
                    allow_older=allow_older,
                )
                for other in further
            ],
        )
        self.control.say(Topic.ASSIGNMENT, message.SerializeToString())

    def limit(
        self, budget_bytes: int, generation: int, transfer: control_pb2.TransferLimits | None = None
    ) -> None:
        message = control_pb2.Limits(
            device_id="board", generation=generation, memory_budget_bytes=budget_bytes, transfer=transfer
        )
        self.control.say(Topic.LIMITS, message.SerializeToString())


@dataclass
class RunningAgent:
    """An agent that runs."""

    agent: Agent
    store: Store
    task: asyncio.Task[None]

    def runs(self, version: int, level: int) -> bool:
        """Whether exactly this answers and everything has settled."""
        status = self.agent.status()
        return (
            status.proven is not None
            and (status.proven.version, status.level) == (version, level)
            and self._settled(status)
        )

    def run(self, **models: tuple[int, int]) -> bool:
        """Whether exactly these answer, each with a version and at a level, and everything has settled."""
        status = self.agent.status()
        found = {model.model: (model.proven.version, model.level) for model in status.models if model.proven}
        return found == models and self._settled(status)

    def look_again(self) -> None:
        """Time has passed for an agent that waits; one that is at work is left to it, and settles."""
        if self.agent.settled:
            self.agent.look_again()

    def _settled(self, status: Status) -> bool:
        return self.agent.settled and status.phase in {"idle", "failed"}

    def fault(self) -> str:
        fault = self.agent.status().fault
        return fault.code if fault else ""

    def held_by(self) -> str:
        """The limit that holds transfers back; empty for none."""
        hold = self.agent.status().hold
        return hold.limit if hold else ""

    def ledger(self) -> dict[str, int]:
        tree: dict[str, int] = self.agent.status_tree()["ledger"]
        return tree
