"""What every way to the server must do, in memory and over gRPC against the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from common.digest import sha256_hex
from common.errors import ConflictError, InvalidInputError, LinkError, NotFoundError
from common.manifest import BlobRef, Manifest
from device_agent.link.grpc_link import GrpcLink
from device_agent.link.server import DeltaOffer, ServerLink
from device_agent.store.manifests import open_frame
from device_agent.store.records import Release
from tests.support.fleet import MemoryServer, make_version
from tests.support.pushes import push
from tests.support.server import running_server

KEY = bytes(range(32))
UNKNOWN = "ab" * 32


@dataclass
class Subject:
    """A link, and a version that its server has."""

    link: ServerLink
    release: Release
    away: ServerLink


@pytest.fixture(params=["memory", "grpc"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    if request.param == "memory":
        made = make_version(1)
        yield Subject(MemoryServer([made]), made.release, MemoryServer(away=True))
        return
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(running_server(tmp_path))
        version = await push(server.addresses.grpc)
        link = await stack.enter_async_context(GrpcLink(server.addresses.grpc))
        away = await stack.enter_async_context(GrpcLink("127.0.0.1:1", call_seconds=5))
        release = Release(
            version.ref.model, version.ref.version, version.manifest_digest.hex(), version.manifest_size_bytes
        )
        yield Subject(link, release, away)


async def manifest_of(subject: Subject) -> Manifest:
    return open_frame(await subject.link.manifest(subject.release.manifest_digest), subject.release)


async def largest_blob(subject: Subject) -> BlobRef:
    return max((await manifest_of(subject)).blob_refs(), key=lambda ref: ref.size_bytes)


async def fetched(link: ServerLink, digest: str, offset_bytes: int = 0) -> bytes:
    async with aclosing(link.blob(digest, offset_bytes=offset_bytes)) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_enrolment_knows_a_device_again_by_its_key(subject: Subject) -> None:
    broker = await subject.link.enrol("board", KEY)
    assert broker.port > 0
    assert await subject.link.enrol("board", KEY) == broker
    with pytest.raises(ConflictError):
        await subject.link.enrol("board", bytes(32))


async def test_a_manifest_is_what_its_digest_names(subject: Subject) -> None:
    manifest = await manifest_of(subject)
    assert (manifest.model, manifest.version) == (subject.release.model, subject.release.version)
    with pytest.raises(NotFoundError):
        await subject.link.manifest(UNKNOWN)


async def test_a_blob_comes_from_any_offset(subject: Subject) -> None:
    ref = await largest_blob(subject)
    whole = await fetched(subject.link, ref.digest)
    assert sha256_hex(whole) == ref.digest
    for offset_bytes in (1, ref.size_bytes // 2, ref.size_bytes - 1):
        assert await fetched(subject.link, ref.digest, offset_bytes) == whole[offset_bytes:]
    assert await fetched(subject.link, ref.digest, ref.size_bytes) == b""


async def test_a_blob_that_nobody_names_is_not_found(subject: Subject) -> None:
    with pytest.raises(NotFoundError):
        await fetched(subject.link, UNKNOWN)


async def test_a_stream_that_is_left_early_ends(subject: Subject) -> None:
    ref = await largest_blob(subject)
    async with aclosing(subject.link.blob(ref.digest, offset_bytes=0)) as chunks:
        async for chunk in chunks:
            assert chunk
            break
    assert await fetched(subject.link, ref.digest)


async def test_a_version_has_no_deltas_against_itself(subject: Subject) -> None:
    blocks = (await manifest_of(subject)).blocks
    own = subject.release.manifest_digest
    counts = [len(block.blobs) for block in blocks]
    assert list(await subject.link.offer_deltas(own, own, counts, [0] * len(blocks))) == []


@pytest.mark.parametrize("unknown_first", [True, False])
async def test_deltas_of_versions_that_nobody_has(subject: Subject, unknown_first: bool) -> None:  # noqa: FBT001
    own = subject.release.manifest_digest
    pair = (UNKNOWN, own) if unknown_first else (own, UNKNOWN)
    with pytest.raises(NotFoundError):
        await subject.link.offer_deltas(*pair, [1], [0])


async def test_a_server_that_is_away_is_a_link_error(subject: Subject) -> None:
    with pytest.raises(LinkError):
        await subject.away.enrol("board", KEY)
    with pytest.raises(LinkError):
        await subject.away.manifest(UNKNOWN)
    with pytest.raises(LinkError):
        await fetched(subject.away, UNKNOWN)
    with pytest.raises(LinkError):
        await subject.away.offer_deltas(UNKNOWN, UNKNOWN, [1], [0])


@dataclass
class Hostile(delivery_pb2_grpc.DeliveryServiceServicer):
    """A server that answers what it was told to."""

    offsets: Sequence[int] = ()
    frozen: bool = False
    broker_port: int = 1883
    status: grpc.StatusCode | None = None
    data: bytes = b"data"
    offers: Sequence[delivery_pb2.DeltaOffer] | None = None
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)

    async def Enrol(self, request: object, context: object) -> delivery_pb2.EnrolResponse:  # noqa: N802, ARG002
        return delivery_pb2.EnrolResponse(broker_port=self.broker_port)

    async def GetManifest(  # noqa: N802
        self,
        request: object,  # noqa: ARG002
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> NoReturn:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "what is this?")

    async def FetchBlob(  # noqa: N802
        self,
        request: object,  # noqa: ARG002
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[delivery_pb2.FetchBlobResponse]:
        try:
            for offset_bytes in self.offsets:
                yield delivery_pb2.FetchBlobResponse(data=self.data, offset_bytes=offset_bytes)
            if self.status is not None:
                await context.abort(self.status, "as told")
            if self.frozen:
                await asyncio.sleep(60)
        finally:
            self.cancelled.set()

    async def OfferDeltas(  # noqa: N802
        self,
        request: object,  # noqa: ARG002
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[delivery_pb2.OfferDeltasResponse]:
        if self.offers is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "what is this?")
        yield delivery_pb2.OfferDeltasResponse(offers=self.offers)
        if self.frozen:
            await asyncio.sleep(60)


@pytest.fixture
async def hostile() -> AsyncIterator[tuple[Hostile, GrpcLink]]:
    server, servicer = grpc.aio.server(), Hostile()
    delivery_pb2_grpc.add_DeliveryServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with GrpcLink(f"127.0.0.1:{port}", chunk_seconds=0.3) as link:
        yield servicer, link
    await server.stop(None)


async def test_bytes_from_elsewhere_in_the_blob_are_refused(hostile: tuple[Hostile, GrpcLink]) -> None:
    servicer, link = hostile
    servicer.offsets = (0, 7)
    with pytest.raises(LinkError, match="byte 7"):
        await fetched(link, UNKNOWN)


async def test_a_server_that_falls_silent_is_left_in_time(hostile: tuple[Hostile, GrpcLink]) -> None:
    servicer, link = hostile
    servicer.offsets, servicer.frozen = (0, 4), True
    with pytest.raises(LinkError, match="in time"):
        await fetched(link, UNKNOWN)
    async with asyncio.timeout(5):
        await servicer.cancelled.wait()


@pytest.mark.parametrize(
    "status",
    [
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.UNAVAILABLE,
    ],
)
async def test_a_server_in_trouble_is_one_that_is_away(
    hostile: tuple[Hostile, GrpcLink], status: grpc.StatusCode
) -> None:
    servicer, link = hostile
    servicer.offsets, servicer.status = (0,), status
    with pytest.raises(LinkError):
        await fetched(link, UNKNOWN)


async def test_a_chunk_beyond_all_bounds_is_refused(hostile: tuple[Hostile, GrpcLink]) -> None:
    servicer, link = hostile
    servicer.offsets, servicer.data = (0,), bytes(5 * 1024 * 1024)
    with pytest.raises(LinkError):
        await fetched(link, UNKNOWN)


@pytest.mark.parametrize("port", [0, 70_000])
async def test_a_broker_that_cannot_be_is_refused(hostile: tuple[Hostile, GrpcLink], port: int) -> None:
    servicer, link = hostile
    servicer.broker_port = port
    with pytest.raises(LinkError):
        await link.enrol("board", KEY)


async def test_a_call_that_the_server_does_not_know_is_no_retry(hostile: tuple[Hostile, GrpcLink]) -> None:
    with pytest.raises(InvalidInputError):
        await hostile[1].manifest(UNKNOWN)


OFFER = delivery_pb2.DeltaOffer(
    digests=[bytes(32)], from_digests=[bytes(32)], delta_digest=bytes(32), delta_size_bytes=1
)


async def test_a_server_from_before_deltas_has_none(hostile: tuple[Hostile, GrpcLink]) -> None:
    assert list(await hostile[1].offer_deltas(UNKNOWN, UNKNOWN, [1], [0])) == []


async def test_an_offer_is_taken_as_it_is(hostile: tuple[Hostile, GrpcLink]) -> None:
    servicer, link = hostile
    servicer.offers = [OFFER]
    zeros = "00" * 32
    assert list(await link.offer_deltas(UNKNOWN, UNKNOWN, [1], [0])) == [
        DeltaOffer((zeros,), (zeros,), zeros, 1)
    ]


async def test_more_offers_than_were_asked_for_are_refused(hostile: tuple[Hostile, GrpcLink]) -> None:
    servicer, link = hostile
    servicer.offers = [OFFER] * 3
    with pytest.raises(LinkError, match="more than"):
        await link.offer_deltas(UNKNOWN, UNKNOWN, [1, 1, 0], [0, 0, 0])


async def test_an_offer_without_a_name_is_refused(hostile: tuple[Hostile, GrpcLink]) -> None:
    servicer, link = hostile
    servicer.offers = [delivery_pb2.DeltaOffer(digests=[b"short"])]
    with pytest.raises(LinkError, match="name"):
        await link.offer_deltas(UNKNOWN, UNKNOWN, [1], [0])


async def test_silence_about_deltas_is_left_in_time(hostile: tuple[Hostile, GrpcLink]) -> None:
    servicer, link = hostile
    servicer.offers, servicer.frozen = [], True
    with pytest.raises(LinkError, match="silent"):
        await link.offer_deltas(UNKNOWN, UNKNOWN, [1], [0])
