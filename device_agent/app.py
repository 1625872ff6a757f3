"""The agent on a board: gRPC, MQTT, HTTP, signals and the runtime, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import secrets
import signal
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Final

from common.clock import SystemClock
from common.files import write_atomically
from device_agent.agent import Agent, Outside
from device_agent.inference.integer.rules import KernelRules
from device_agent.inference.served import ServedModel
from device_agent.inference.threads import limit_threads
from device_agent.inference.warm_up import warm_up
from device_agent.link.backoff import Backoff
from device_agent.link.grpc_link import GrpcLink
from device_agent.link.mqtt_link import MqttLink
from device_agent.link.socket_meter import open_meter
from device_agent.link.url_link import UrlLink
from device_agent.process_start import started_unix_ms
from device_agent.sensors.board import board_sensors
from device_agent.serving.endpoint import open_endpoint
from device_agent.serving.queueing.lanes import QueueRules
from device_agent.serving.service import Service
from device_agent.settings import Settings
from device_agent.store.failures import disk_errors
from device_agent.store.store import Store

ENDPOINT_NAME: Final = "endpoint.json"


async def run_agent(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        ConflictError: Another agent has the store, or another device the id.
        ConfigError: A setting contradicts the store, or an address cannot be bound.
        CapacityError: The disk refuses the store.
    """
    limit_threads(settings.threads)
    store = Store.open(settings.store_dir, settings.device_id, settings.disk_budget_bytes)
    warming: list[threading.Thread] = []
    try:
        async with GrpcLink(settings.server) as server:
            await _serve(settings, store, server, lambda: warming.append(warm_up()))
    finally:
        store.close()
        for thread in warming:
            thread.join()  # an interpreter that ends meanwhile makes the import fail


async def _serve(
    settings: Settings, store: Store, server: GrpcLink, start_warm_up: Callable[[], object]
) -> None:
    session_id = secrets.token_hex(8)
    device_id = store.state.record.device_id
    rules = KernelRules(mode=settings.kernels, engine=settings.engine, tolerance=settings.kernel_tolerance)
    outside = Outside(
        server=UrlLink(server) if settings.signed_urls else server,
        control=MqttLink(device_id, session_id, Backoff()),
        load=functools.partial(ServedModel.load, rules=rules, choices=store.kernel_choices),
        sensors=board_sensors(settings.store_dir),
        clock=SystemClock(),
        backoff=Backoff,
        started_unix_ms=started_unix_ms(SystemClock()),
        session_id=session_id,
        meter=open_meter(store.ledger.item_bytes, SystemClock().monotonic_seconds),
        warm_up=start_warm_up,
    )
    agent = Agent(settings, store, outside)
    with _signals(agent) as stop:
        async with _endpoint(settings, agent, device_id):
            await _until(stop, agent)


@contextlib.asynccontextmanager
async def _endpoint(settings: Settings, agent: Agent, device_id: str) -> AsyncGenerator[None, None]:
    """Applications are answered, and files say where."""
    rules = QueueRules(
        length=settings.queue_length,
        batch_rows=settings.batch_rows,
        window_seconds=settings.batch_window_ms / 1000,
        longest_seconds=settings.queue_seconds,
    )
    service = Service(
        agent.keeper.models,
        agent.status_tree,
        rules,
        request_memory_bytes=settings.request_memory_bytes,
        on_answered=agent.answered,
    )
    grpc_listen = "" if settings.grpc_listen == "off" else settings.grpc_listen
    async with open_endpoint(service, http_listen=settings.http_listen, grpc_listen=grpc_listen) as endpoint:
        agent.answers_at(endpoint.http_url)
        where = {"http": endpoint.http_url, "grpc": endpoint.grpc_address, "device_id": device_id}
        content = json.dumps(where).encode()
        own = settings.store_dir / ENDPOINT_NAME
        try:
            _announce(own, content)
            if settings.ready_file is not None:
                _announce(settings.ready_file, content)
            yield
        finally:
            own.unlink(missing_ok=True)


async def _until(stop: asyncio.Event, agent: Agent) -> None:
    """Run the agent until it ends or is told to."""
    running = asyncio.create_task(agent.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            running.result()
    finally:
        for task in (running, stopping):
            task.cancel()
        await asyncio.gather(running, stopping, return_exceptions=True)


@contextlib.contextmanager
def _signals(agent: Agent) -> Generator[asyncio.Event, None, None]:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, agent.read_again)
    try:
        yield stop
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)


def _announce(file: Path, content: bytes) -> None:
    with disk_errors():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, content)
