from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt
import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from nestfleet.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    control_pb2,
    delivery_pb2,
    delivery_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    publish_pb2_grpc,
)

from common.errors import ConfigError, ConflictError
from common.topics import Topic, topic_for
from server.app import running
from server.control.broker import EmbeddedBroker
from server.health import serves
from server.rpc.server import SERVICES
from tests.support.ports import kept_port
from tests.support.pushes import header_for, push, tiny_parts
from tests.support.server import running_server, settings_for
from tests.support.waiting import until


async def test_health_and_reflection_answer(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        assert await asyncio.to_thread(serves, server.addresses.grpc)
        health = health_pb2_grpc.HealthStub(server.channel)
        for service in ("", *SERVICES):
            answer = await health.Check(health_pb2.HealthCheckRequest(service=service))
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflection = reflection_pb2_grpc.ServerReflectionStub(server.channel)

        async def asked() -> AsyncIterator[reflection_pb2.ServerReflectionRequest]:
            yield reflection_pb2.ServerReflectionRequest(list_services="")

        async for listed in reflection.ServerReflectionInfo(asked()):
            assert set(SERVICES) <= {item.name for item in listed.list_services_response.service}
    assert not await asyncio.to_thread(serves, server.addresses.grpc)


async def test_the_ready_file_is_there_exactly_while_it_serves(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    async with running_server(tmp_path, ready_file=ready_file) as server:
        told = json.loads(ready_file.read_text())
        assert told == {"grpc": server.addresses.grpc, "broker": server.addresses.broker}
    assert not ready_file.exists()


async def test_it_serves_while_its_broker_is_away_and_finds_it_later(tmp_path: Path) -> None:
    with kept_port() as port:
        async with running_server(tmp_path, broker_url=f"mqtt://127.0.0.1:{port}") as server:
            version = await push(server.addresses.grpc)
            delivery = delivery_pb2_grpc.DeliveryServiceStub(server.channel)
            await delivery.Enrol(delivery_pb2.EnrolRequest(device_id="kitchen", enrolment_key=b"k" * 32))
            fleet = fleet_pb2_grpc.FleetServiceStub(server.channel)
            await fleet.Assign(fleet_pb2.AssignRequest(ref=version.ref, all_devices=True))
            broker = await EmbeddedBroker.start(f"127.0.0.1:{port}")
            try:
                async with aiomqtt.Client("127.0.0.1", port) as device:
                    await device.subscribe(topic_for("kitchen", Topic.ASSIGNMENT), qos=1)
                    message = await asyncio.wait_for(anext(aiter(device.messages)), 60)
            finally:
                await broker.close()
    assert control_pb2.Assignment.FromString(bytes(message.payload)).ref == version.ref


async def test_versions_outlive_a_restart(tmp_path: Path) -> None:
    async with running_server(tmp_path) as server:
        version = await push(server.addresses.grpc)
    async with running_server(tmp_path) as server:
        catalog = catalog_pb2_grpc.CatalogServiceStub(server.channel)
        listed = await catalog.ListModels(catalog_pb2.ListModelsRequest())
        assert listed.versions == [version]


async def test_what_a_crash_left_is_swept_at_the_start(tmp_path: Path) -> None:
    left = tmp_path / "incoming" / "push-crashed"
    left.mkdir(parents=True)
    (left / "weights.safetensors").write_bytes(b"half")
    async with running_server(tmp_path):
        assert not left.exists()


async def test_settings_that_cannot_work_end_the_start_with_a_reason(tmp_path: Path) -> None:
    async with running_server(tmp_path / "one") as server:
        taken = server.addresses.grpc
        with pytest.raises(ConflictError, match="cannot listen"):
            async with running(settings_for(tmp_path / "two", listen=taken)):
                pass
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="data folder"):
        async with running(settings_for(tmp_path / "file" / "below")):
            pass
    with pytest.raises(ConfigError):
        async with running(settings_for(tmp_path, blobs_url="gopher://x")):
            pass


@asynccontextmanager
async def server_process(folder: Path, ready_file: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.cli.main", "server"),
        *("--data-dir", str(folder), "--ready-file", str(ready_file)),
        *("--listen", "127.0.0.1:0", "--broker-listen", "127.0.0.1:0"),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


async def test_a_signal_ends_it_in_time_though_a_push_is_under_way(tmp_path: Path) -> None:
    ready_file = tmp_path / "ready.json"
    async with server_process(tmp_path / "data", ready_file) as process:
        await until(lambda: ready_file.exists() or process.returncode is not None)
        address = json.loads(ready_file.read_text())["grpc"]
        async with grpc.aio.insecure_channel(address) as channel:
            call = publish_pb2_grpc.PublishServiceStub(channel).Publish()
            await call.write(header_for(tiny_parts()))
            await call.read()
            process.send_signal(signal.SIGTERM)
            # Far less than a push may be silent, which it does not wait for.
            assert await asyncio.wait_for(process.wait(), 20) == 0
    assert not ready_file.exists()
    assert list((tmp_path / "data" / "incoming").iterdir()) == []
