"""One device's fetch of all files, in three ways; what comes is counted and discarded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
from nestfleet.v1 import delivery_pb2

from benchmarks.delivery.stream.serving import BARE_METHOD
from common.channel import CHANNEL_OPTIONS
from device_agent.link.grpc_link import GrpcLink
from device_agent.link.server import Wanted


async def by_product(address: str, digests: Sequence[str]) -> int:
    """Bytes that came over the stream of a device's own link."""
    received = 0
    async with GrpcLink(address) as link:
        async for chunk in link.blobs([Wanted(digest, 0) for digest in digests]):
            if chunk.error is not None:
                raise chunk.error
            received += len(chunk.data)
    return received


async def by_bare_grpc(address: str, names: Sequence[str]) -> int:
    """Bytes that came from one call of plain gRPC."""
    received = 0
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        method: Any = channel.unary_stream(
            BARE_METHOD, response_deserializer=delivery_pb2.FetchBlobsResponse.FromString
        )
        async for answer in method("\n".join(names).encode()):
            received += len(answer.data)
    return received


async def by_http(address: str, names: Sequence[str]) -> int:
    """Bytes that came by one GET after the other, on one connection."""
    host, _, port = address.partition(":")
    reader, writer = await asyncio.open_connection(host, int(port), limit=1024 * 1024)
    received = 0
    try:
        for name in names:
            writer.write(f"GET /{name} HTTP/1.1\r\nHost: {address}\r\n\r\n".encode())
            left_bytes = _length(await reader.readuntil(b"\r\n\r\n"))
            while left_bytes:
                data = await reader.read(min(left_bytes, 1024 * 1024))
                if not data:
                    raise ConnectionError("the server ended the connection")
                left_bytes -= len(data)
                received += len(data)
    finally:
        writer.close()
    return received


def _length(head: bytes) -> int:
    status, *lines = head.decode("ascii").split("\r\n")
    if " 200 " not in status:
        raise ConnectionError(status)
    fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
    return int(fields["content-length"])
