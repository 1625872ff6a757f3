"""Server and device on an object store in trouble: the server goes on, the device gets all or waits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from nestfleet.v1 import catalog_pb2

from common.blob_codec import decompress
from common.manifest import Manifest, from_json
from device_agent.link.grpc_link import GrpcLink
from device_agent.link.url_body import Patience
from device_agent.link.url_link import UrlLink
from device_agent.store.records import Release
from tests.support.faults.store_faults import (
    Answering,
    Dripping,
    Endless,
    Expired,
    Fault,
    Full,
    IgnoringRanges,
    ReadOnly,
    Shortened,
    Silent,
    StoreProxy,
    TooLong,
    Truncated,
    WrongBytes,
    faulty_store,
)
from tests.support.fleet import Board
from tests.support.pushes import push, tiny_parts
from tests.support.server import RunningServer, running_server
from tests.support.waiting import until

PATIENCE = Patience(
    connect_seconds=2, idle_seconds=0.5, allowance_seconds=0.5, least_bytes_per_second=1_000_000
)


@dataclass
class Pushed:
    """A version, as far as ``Board.assign`` looks at one."""

    release: Release
    manifest: Manifest

    @property
    def device_blobs(self) -> set[str]:
        return {ref.digest for ref in self.manifest.device_refs()}


@dataclass
class Stack:
    """A server on a store with faults, and a device that is told of URLs."""

    server: RunningServer
    proxy: StoreProxy
    link: GrpcLink
    board: Board

    async def push(self, seed: int) -> Pushed:
        version = await push(self.server.addresses.grpc, tiny_parts(seed, 64), block_size_bytes=64 * 1024)
        return await self.pushed(version)

    async def pushed(self, version: catalog_pb2.Version) -> Pushed:
        release = Release(
            version.ref.model, version.ref.version, version.manifest_digest.hex(), version.manifest_size_bytes
        )
        frame = await self.link.manifest(release.manifest_digest)
        return Pushed(release, from_json(decompress(frame, release.manifest_size_bytes)))

    def assign(self, version: Pushed) -> None:
        assigned: Any = version
        self.board.assign(assigned)


@pytest.fixture
async def stack(tmp_path: Path, moto_endpoint: str, s3_url: str) -> AsyncIterator[Stack]:
    async with AsyncExitStack() as opened:
        proxy = await opened.enter_async_context(faulty_store(moto_endpoint))
        url = f"{s3_url.partition('?')[0]}?region=us-east-1&endpoint={proxy.url}"
        server = await opened.enter_async_context(
            running_server(tmp_path / "server", blobs_url=url, presigned_url_seconds=60)
        )
        link = await opened.enter_async_context(GrpcLink(server.addresses.grpc))
        way: Any = UrlLink(link, patience=PATIENCE)
        yield Stack(server, proxy, link, Board(tmp_path / "board", way))


async def test_a_device_fetches_a_version_past_the_server(stack: Stack) -> None:
    one = await stack.push(1)
    stack.proxy.seen.clear()
    stack.assign(one)
    async with stack.board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert running.store.blobs.present >= one.device_blobs
    assert all(request.signed for request in stack.proxy.seen)
    assert len(stack.proxy.seen) == len(one.device_blobs)


@pytest.mark.parametrize(
    "fault",
    [
        Answering(404, by_url=True),
        Answering(500, by_url=True),
        Expired(),
        Silent(by_url=True),
        Dripping(by_url=True),
        Endless(by_url=True),
        Truncated(by_url=True),
        Shortened(by_url=True),
        TooLong(by_url=True),
        WrongBytes(by_url=True),
        IgnoringRanges(by_url=True),
    ],
    ids=lambda fault: f"{type(fault).__name__}{getattr(fault, '_status', '')}",
)
async def test_urls_that_give_nothing_of_use_cost_no_version(stack: Stack, fault: Fault) -> None:
    one = await stack.push(1)
    stack.proxy.fault = fault
    stack.assign(one)
    async with stack.board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert running.store.blobs.present >= one.device_blobs
        assert running.fault() == ""
    assert stack.proxy.by_url


@pytest.mark.parametrize("fault", [Answering(503), Answering(403), Truncated()], ids=["503", "403", "cut"])
async def test_a_store_that_is_away_is_waited_for_and_nothing_half_is_activated(
    stack: Stack, fault: Fault
) -> None:
    one = await stack.push(1)
    stack.proxy.fault = fault
    stack.proxy.seen.clear()
    stack.assign(one)
    async with stack.board.agent() as running:
        # Both ways have been tried, the server's own more than once.
        await until(lambda: len(stack.proxy.seen) - len(stack.proxy.by_url) > 8)
        assert stack.proxy.by_url
        assert running.agent.status().proven is None
        assert running.agent.status().phase not in {"idle", "failed"}
        stack.proxy.fault = Fault()
        await until(lambda: running.runs(1, 8))


@pytest.mark.parametrize(
    ("fault", "status", "advice"),
    [
        (ReadOnly(), grpc.StatusCode.INVALID_ARGUMENT, "put and delete"),
        (Full(), grpc.StatusCode.RESOURCE_EXHAUSTED, "nestfleet gc"),
        (Answering(503), grpc.StatusCode.UNAVAILABLE, "Try again"),
    ],
    ids=["read-only", "full", "503"],
)
async def test_a_push_into_a_store_in_trouble_is_told_why_and_fetches_go_on(
    stack: Stack, fault: Fault, status: grpc.StatusCode, advice: str
) -> None:
    one = await stack.push(1)
    stack.proxy.fault = fault
    with pytest.raises(grpc.RpcError) as refused:
        await stack.push(2)
    told: Any = refused.value
    assert told.code() is status
    assert advice in told.details()
    if isinstance(fault, ReadOnly):
        stack.assign(one)
        async with stack.board.agent() as running:
            await until(lambda: running.runs(1, 8))
    stack.proxy.fault = Fault()
    two = await stack.push(2)
    assert two.release.version == 2
