"""A server whose pushes are quantized by a Dask cluster."""

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
from nestfleet.v1 import publish_pb2_grpc

from server.health import serves
from tests.support.cluster import address_of, running_cluster
from tests.support.pushes import chunks_of, header_for, push, tiny_parts
from tests.support.server import running_server


async def test_a_push_gives_the_version_that_a_server_alone_makes(tmp_path: Path) -> None:
    async with running_server(tmp_path / "alone") as server:
        alone = await push(server.addresses.grpc)
    with running_cluster(1) as cluster:
        workers = f"dask://{address_of(cluster)}"
        async with running_server(tmp_path / "clustered", workers=workers) as server:
            version = await push(server.addresses.grpc)
    assert version.manifest_digest == alone.manifest_digest


async def test_without_its_cluster_a_push_fails_with_advice_and_the_server_goes_on(tmp_path: Path) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, but nobody listens
        workers = f"dask://127.0.0.1:{reserved.getsockname()[1]}"
        async with running_server(tmp_path, workers=workers) as server:
            with pytest.raises(grpc.RpcError) as failed:
                await push(server.addresses.grpc)
            assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
            assert "does not answer" in str(failed.value.details())
            assert await asyncio.to_thread(serves, server.addresses.grpc)


async def test_a_server_stops_in_time_though_a_push_waits_for_workers(tmp_path: Path) -> None:
    parts = tiny_parts()
    with running_cluster(0) as cluster:
        async with running_server(tmp_path, workers=f"dask://{address_of(cluster)}") as server:
            call = publish_pb2_grpc.PublishServiceStub(server.channel).Publish()
            for request in (header_for(parts), *chunks_of(parts)):
                await call.write(request)
            await call.done_writing()
            step = ""
            while step != "quantize":
                answer: Any = await call.read()
                step = answer.progress.step
            stopped_at = time.monotonic()
        assert time.monotonic() - stopped_at < 20, "far less than a push waits for workers"
