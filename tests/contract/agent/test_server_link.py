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
from common.errors import ConflictError, Error, IntegrityError, InvalidInputError, LinkError, NotFoundError
from common.manifest import BlobRef, Manifest
from device_agent.link.grpc_link import GrpcLink
from device_agent.link.server import DeltaOffer, ServerLink, Wanted
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


async def fetched(link: ServerLink, *wanted: Wanted) -> list[bytes | Error]:
    """What came of each blob: its bytes from the offset on, or why it cannot be had."""
    found: list[bytes | Error] = [b"" for _ in wanted]
    ended = []
    async with aclosing(link.blobs(wanted)) as chunks:
        async for chunk in chunks:
            before = found[chunk.index]
            assert isinstance(before, bytes)
            assert chunk.offset_bytes == wanted[chunk.index].offset_bytes + len(before)
            found[chunk.index] = chunk.error or before + chunk.data
            ended += [chunk.index] * chunk.end
    assert ended == list(range(len(wanted)))
    return found


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


async def test_blobs_come_in_order_from_any_offset(subject: Subject) -> None:
    ref = await largest_blob(subject)
    manifest = await manifest_of(subject)
    (whole,) = await fetched(subject.link, Wanted(ref.digest, 0))
    assert isinstance(whole, bytes)
    assert sha256_hex(whole) == ref.digest
    offsets = (1, ref.size_bytes // 2, ref.size_bytes - 1, ref.size_bytes)
    rests = await fetched(subject.link, *(Wanted(ref.digest, offset) for offset in offsets))
    assert rests == [whole[offset:] for offset in offsets]
    refs = list(manifest.device_refs())
    for one, data in zip(
        refs, await fetched(subject.link, *(Wanted(one.digest, 0) for one in refs)), strict=True
    ):
        assert isinstance(data, bytes)
        assert sha256_hex(data) == one.digest


async def test_a_blob_that_cannot_be_had_keeps_no_other_from_coming(subject: Subject) -> None:
    ref = await largest_blob(subject)
    wanted = (Wanted(UNKNOWN, 0), Wanted(ref.digest, 0), Wanted(UNKNOWN, 0), Wanted(ref.digest, 1))
    first, whole, again, rest = await fetched(subject.link, *wanted)
    assert isinstance(first, NotFoundError)
    assert isinstance(again, NotFoundError)
    assert isinstance(whole, bytes)
    assert rest == whole[1:]


async def test_nothing_wanted_is_nothing_sent(subject: Subject) -> None:
    assert await fetched(subject.link) == []


async def test_a_stream_that_is_left_early_ends(subject: Subject) -> None:
    ref = await largest_blob(subject)
    async with aclosing(subject.link.blobs([Wanted(ref.digest, 0)])) as chunks:
        async for chunk in chunks:
            assert chunk.data
            break
    assert await fetched(subject.link, Wanted(ref.digest, 0))


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
        await fetched(subject.away, Wanted(UNKNOWN, 0))
    with pytest.raises(LinkError):
        await subject.away.offer_deltas(UNKNOWN, UNKNOWN, [1], [0])


@dataclass
class Hostile(delivery_pb2_grpc.DeliveryServiceServicer):
    """A server that answers what it was told to."""

    answers: Sequence[delivery_pb2.FetchBlobsResponse] = ()
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

    async def FetchBlobs(  # noqa: N802
        self,
        requests: AsyncIterator[delivery_pb2.FetchBlobsRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[delivery_pb2.FetchBlobsResponse]:
        try:
            await anext(aiter(requests))
            for answer in self.answers:
                yield answer
            if self.status is not None:
                await context.abort(self.status, "as told")
            if self.frozen:
                await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def GetBlobUrls(  # noqa: N802
        self,
        request: object,  # noqa: ARG002
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> NoReturn:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "what is this?")

    async def OfferDeltas(  # noqa: N802
        self,
        request: object,  # noqa: ARG002
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncIterator[delivery_pb2.OfferDeltasResponse]:
        if self.offers is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "what is this?")
        yield delivery_pb2.OfferDeltasResponse(offers=self.offers)
        if self.frozen:
            await asyncio.Event().wait()


@pytest.fixture
async def hostile() -> AsyncIterator[tuple[Hostile, GrpcLink]]:
    server, servicer = grpc.aio.server(), Hostile()
    delivery_pb2_grpc.add_DeliveryServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with GrpcLink(f"127.0.0.1:{port}", chunk_seconds=0.3) as link:
        yield servicer, link
    await server.stop(None)


def sent(data: bytes = b"data", **fields: Any) -> delivery_pb2.FetchBlobsResponse:
    return delivery_pb2.FetchBlobsResponse(data=data, **fields)


@pytest.mark.parametrize(
    "answers",
    [
        [sent(), sent(offset_bytes=7)],
        [sent(index=1)],
        [sent(end=True), sent(index=2)],
        [sent(end=True), sent(index=0, offset_bytes=4)],
        [sent(b"")],
        [sent(), sent(b"", offset_bytes=4)],
        [sent(end=True)],
    ],
    ids=["gap", "skipped", "skipped later", "after its end", "empty", "empty later", "ended early"],
)
async def test_a_stream_without_order_is_refused(
    hostile: tuple[Hostile, GrpcLink], answers: list[delivery_pb2.FetchBlobsResponse]
) -> None:
    servicer, link = hostile
    servicer.answers = answers
    with pytest.raises(LinkError):
        await fetched(link, Wanted(UNKNOWN, 0), Wanted(UNKNOWN, 0))


async def test_a_server_that_falls_silent_is_left_in_time(hostile: tuple[Hostile, GrpcLink]) -> None:
    servicer, link = hostile
    servicer.answers, servicer.frozen = (sent(), sent(offset_bytes=4)), True
    with pytest.raises(LinkError, match="in time"):
        await fetched(link, Wanted(UNKNOWN, 0))
    async with asyncio.timeout(60):
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
    servicer.answers, servicer.status = (sent(),), status
    with pytest.raises(LinkError):
        await fetched(link, Wanted(UNKNOWN, 0))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("not_found", NotFoundError),
        ("invalid_input", InvalidInputError),
        ("integrity", IntegrityError),
        ("capacity", LinkError),
        ("config_invalid", LinkError),
        ("internal", LinkError),
        ("from a later release", LinkError),
    ],
)
async def test_what_is_the_matter_with_a_blob(
    hostile: tuple[Hostile, GrpcLink], code: str, kind: type[Error]
) -> None:
    servicer, link = hostile
    servicer.answers = [sent(b"", end=True, error_code=code, error_detail="as told"), sent(index=1, end=True)]
    error, data = await fetched(link, Wanted(UNKNOWN, 0), Wanted(UNKNOWN, 0))
    assert type(error) is kind
    assert data == b"data"


async def test_a_chunk_beyond_all_bounds_is_refused(hostile: tuple[Hostile, GrpcLink]) -> None:
    servicer, link = hostile
    servicer.answers = (sent(bytes(5 * 1024 * 1024)),)
    with pytest.raises(LinkError):
        await fetched(link, Wanted(UNKNOWN, 0))


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
