"""Wires the server and runs it. The only place where its objects meet."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from common.addresses import BrokerAddress, parse_broker_url
from common.clock import SystemClock
from common.errors import ConfigError
from common.files import write_atomically
from server.control.broker import EmbeddedBroker
from server.control.desk import Desk
from server.delivery.build import Building
from server.delivery.deltas import Deltas
from server.delivery.enrol import Enrolment
from server.delivery.fetch import Fetching
from server.delivery.order import Part
from server.delivery.publish import Publishing, PushLimits
from server.delivery.urls import UrlSigning
from server.delivery.workspace import Workspace
from server.quantize.workers import make_workers
from server.registry.repository import Registry
from server.rpc.catalog import CatalogServicer
from server.rpc.delivery import DeliveryServicer
from server.rpc.fleet import FleetServicer
from server.rpc.publish import PublishServicer
from server.rpc.server import RpcServer
from server.settings import Settings
from server.storage.object_store import open_blob_store

_DESK_STOP_SECONDS: Final = 2.0
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a running server is reached from its own machine.

    Attributes:
        grpc: ``HOST:PORT``.
        broker: ``mqtt://HOST:PORT``.
    """

    grpc: str
    broker: str


async def serve(settings: Settings, *, ready: Callable[[Addresses], None] | None = None) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        settings: What holds.
        ready: Called once when all is served.

    Raises:
        ConfigError: A setting cannot work.
        ConflictError: An address is taken.
        LinkError: The database is away.
    """
    logging.getLogger("alembic").setLevel(logging.WARNING)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        async with running(settings) as addresses:
            _log.info(
                "Serving on %s, broker %s, data in %s", addresses.grpc, addresses.broker, settings.data_dir
            )
            if ready is not None:
                ready(addresses)
            await stop.wait()
            _log.info("Stopping")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[Addresses]:
    """A server that answers while the context lasts, and has let go of everything afterwards.

    Raises:
        ConfigError: A setting cannot work.
        ConflictError: An address is taken.
        LinkError: The database is away.
    """
    _make_folder(settings.data_dir)
    async with AsyncExitStack() as stack:
        clock = SystemClock()
        registry = await asyncio.to_thread(Registry.open, settings.database)
        stack.callback(registry.close)
        store = open_blob_store(settings.blobs)
        workspace = Workspace(settings.data_dir / "incoming", reserve_bytes=settings.disk_reserve_bytes)
        workspace.sweep()
        workers = make_workers(settings.workers)
        publishing = Publishing(Building(registry, store, workers), workspace, _limits(settings))
        stack.push_async_callback(asyncio.to_thread, publishing.close)
        broker, advertised = await _broker(settings, stack)
        desk = Desk(registry, clock, broker)
        stack.push_async_callback(_cancelled, asyncio.create_task(desk.run()))
        deltas = Deltas(registry, store)
        stack.push_async_callback(deltas.close)
        rpc = RpcServer(
            CatalogServicer(registry),
            DeliveryServicer(
                Enrolment(registry, clock, advertised),
                Fetching(registry, store),
                UrlSigning(registry, store, clock, seconds=settings.presigned_url_seconds),
                deltas,
            ),
            FleetServicer(registry, store, desk, clock, gc_grace_seconds=settings.gc_grace_seconds),
            PublishServicer(publishing, block_size_bytes=settings.block_size_bytes),
        )
        stack.push_async_callback(rpc.stop)
        stack.push_async_callback(asyncio.to_thread, workers.close)  # a push that waits for them ends
        stack.callback(publishing.cut)
        addresses = Addresses(await rpc.start(settings.listen), str(broker))
        if settings.ready_file is not None:
            stack.enter_context(_announced(settings.ready_file, addresses))
        yield addresses


async def _broker(settings: Settings, stack: AsyncExitStack) -> tuple[BrokerAddress, BrokerAddress]:
    """The broker for this process, and the one that devices are told."""
    address = settings.broker
    told = address
    if address is None:
        embedded = await EmbeddedBroker.start(settings.broker_listen)
        stack.push_async_callback(embedded.close)
        address, told = embedded.address, BrokerAddress("", embedded.address.port)
    if settings.advertised_broker:
        told = parse_broker_url(settings.advertised_broker)
    return address, told or address


def _limits(settings: Settings) -> PushLimits:
    return PushLimits(
        part_bytes={
            Part.GRAPH: settings.max_graph_bytes,
            Part.WEIGHTS: settings.max_weights_bytes,
            Part.SAMPLES: settings.max_samples_bytes,
            Part.CALIBRATION: settings.max_calibration_bytes,
            Part.EVALUATION: settings.max_evaluation_bytes,
        },
        pushes=settings.max_pushes,
        idle_seconds=settings.push_idle_seconds,
    )


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"The data folder {folder} cannot be made: {error.strerror}.", advice="Choose another (data_dir)."
        ) from error


@contextlib.contextmanager
def _announced(file: Path, addresses: Addresses) -> Iterator[None]:
    write_atomically(file.absolute(), json.dumps(asdict(addresses)).encode())
    try:
        yield
    finally:
        file.unlink(missing_ok=True)


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task], timeout=_DESK_STOP_SECONDS)
