"""The agent on a board: gRPC, MQTT, HTTP, signals and the runtime, wired together."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import signal
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import Final

import psutil

from common.addresses import parse_host_port
from common.clock import SystemClock
from common.files import write_atomically
from device_agent.agent import Agent, Outside
from device_agent.inference.http import create_http_app
from device_agent.inference.http_server import serve_http
from device_agent.inference.served import ServedModel
from device_agent.inference.threads import limit_threads
from device_agent.inference.warm_up import warm_up
from device_agent.link.backoff import Backoff
from device_agent.link.grpc_link import GrpcLink
from device_agent.link.mqtt_link import MqttLink
from device_agent.link.socket_meter import open_meter
from device_agent.link.url_link import UrlLink
from device_agent.sensors.board import board_sensors
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
    warming = warm_up()
    try:
        async with GrpcLink(settings.server) as server:
            await _serve(settings, store, server)
    finally:
        store.close()
        warming.join()  # an interpreter that ends meanwhile makes the import fail


async def _serve(settings: Settings, store: Store, server: GrpcLink) -> None:
    session_id = secrets.token_hex(8)
    device_id = store.state.record.device_id
    outside = Outside(
        server=UrlLink(server) if settings.signed_urls else server,
        control=MqttLink(device_id, session_id, Backoff()),
        load=ServedModel.load,
        sensors=board_sensors(settings.store_dir),
        clock=SystemClock(),
        backoff=Backoff,
        started_unix_ms=int(psutil.Process(os.getpid()).create_time() * 1000),
        session_id=session_id,
        meter=open_meter(store.ledger.item_bytes, SystemClock().monotonic_seconds),
    )
    agent = Agent(settings, store, outside)
    with _signals(agent) as stop:
        async with _endpoint(settings, agent, device_id):
            await _until(stop, agent)


@contextlib.asynccontextmanager
async def _endpoint(settings: Settings, agent: Agent, device_id: str) -> AsyncGenerator[None, None]:
    """The HTTP side answers, and files say where."""
    host, port = parse_host_port(settings.http_listen)
    http = await serve_http(create_http_app(agent.keeper.models, agent.status_tree), host, port)
    agent.inference_url = http.url
    content = json.dumps({"http": http.url, "device_id": device_id}).encode()
    own = settings.store_dir / ENDPOINT_NAME
    try:
        _announce(own, content)
        if settings.ready_file is not None:
            _announce(settings.ready_file, content)
        yield
    finally:
        own.unlink(missing_ok=True)
        await http.close()


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
