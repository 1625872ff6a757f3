"""Strangers that speak no gRPC and no MQTT to the ports: nobody else notices."""

from __future__ import annotations

import asyncio
import contextlib
import random
from pathlib import Path

import aiomqtt
import pytest

from tests.support.pushes import push
from tests.support.server import running_server

NOISE = random.Random(0).randbytes(4096)  # noqa: S311  # no secret
CASES = [
    NOISE,
    b"GET / HTTP/1.1\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + NOISE,
    b"\x10\xff\xff\xff\x7f" + NOISE,
    b"\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00\x30\xff\xff\xff\x7f" + NOISE,
    b"",
]


async def _tell(address: str, data: bytes) -> None:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    with contextlib.suppress(OSError, TimeoutError):
        writer.write(data)
        await writer.drain()
        await asyncio.wait_for(reader.read(64), 0.1)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def test_garbage_on_the_ports_stops_no_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running_server(tmp_path) as server:
        broker = server.addresses.broker.removeprefix("mqtt://")
        for data in CASES:
            await asyncio.gather(_tell(server.addresses.grpc, data), _tell(broker, data))
        await push(server.addresses.grpc)
        host, _, port = broker.rpartition(":")
        async with aiomqtt.Client(host, int(port)) as device:
            await device.subscribe("a", qos=1)
            await device.publish("a", b"here", qos=1)
            message = await asyncio.wait_for(anext(aiter(device.messages)), 60)
    assert message.payload == b"here"
    assert not [record for record in caplog.records if record.exc_info]
