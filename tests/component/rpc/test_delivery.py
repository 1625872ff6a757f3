from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from nestfleet.v1 import catalog_pb2, catalog_pb2_grpc, delivery_pb2, delivery_pb2_grpc

from common.blob_codec import decompress
from common.digest import sha256_hex
from common.manifest import BlobRef, Manifest, from_json
from common.rpc_status import CODE_KEY
from server.delivery.stream.window import MAX_AHEAD_BYTES
from tests.support.pushes import push, tiny_parts
from tests.support.server import RunningServer, running_server

KEY = bytes(range(32))
UNKNOWN = "ab" * 32


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path) as server:
        yield server


def delivery(server: RunningServer) -> delivery_pb2_grpc.DeliveryServiceAsyncStub:
    return delivery_pb2_grpc.DeliveryServiceStub(server.channel)


async def enrol(server: RunningServer, device_id: str, key: bytes) -> delivery_pb2.EnrolResponse:
    return await delivery(server).Enrol(
        delivery_pb2.EnrolRequest(device_id=device_id, enrolment_key=key, platform="linux/x86_64")
    )


class Device:
    """One end of a stream of blobs; takes what it is told to, and says so."""

    def __init__(self, server: RunningServer) -> None:
        self.call = delivery(server).FetchBlobs()
        self.taken_bytes = 0

    async def want(self, *wanted: tuple[str, int]) -> None:
        blobs = [
            delivery_pb2.WantedBlob(digest=bytes.fromhex(digest), offset_bytes=offset)
            for digest, offset in wanted
        ]
        await self.call.write(delivery_pb2.FetchBlobsRequest(want=blobs))

    async def cancel(self, *digests: str) -> None:
        await self.call.write(delivery_pb2.FetchBlobsRequest(cancel=list(map(bytes.fromhex, digests))))

    async def tell(self) -> None:
        await self.call.write(delivery_pb2.FetchBlobsRequest(taken_bytes=self.taken_bytes))

    async def read(self) -> delivery_pb2.FetchBlobsResponse:
        async with asyncio.timeout(60):
            answer = await self.call.read()
        assert isinstance(answer, delivery_pb2.FetchBlobsResponse)
        self.taken_bytes += len(answer.data)
        return answer

    async def ended(self) -> bool:
        async with asyncio.timeout(60):
            return await self.call.read() is grpc.aio.EOF


async def fetched(server: RunningServer, *wanted: tuple[str, int]) -> list[bytes | str]:
    """The bytes of each blob, or the code of why it cannot be had."""
    device = Device(server)
    for start in range(0, len(wanted), 1024):
        await device.want(*wanted[start : start + 1024])
    found: list[bytes | str] = []
    data, offset = b"", wanted[0][1]
    while len(found) < len(wanted):
        answer = await device.read()
        assert answer.index == len(found)
        assert answer.offset_bytes == offset + len(data)
        data += answer.data
        if answer.data:
            await device.tell()
        if answer.end:
            found.append(answer.error_code or data)
            data, offset = b"", wanted[len(found)][1] if len(found) < len(wanted) else 0
    await device.call.done_writing()
    assert await device.ended()
    assert await device.call.code() is grpc.StatusCode.OK
    return found


async def manifest_of(server: RunningServer, digest: bytes) -> Manifest:
    answer = await delivery(server).GetManifest(delivery_pb2.GetManifestRequest(digest=digest))
    data = decompress(answer.manifest_zstd, answer.manifest_size_bytes)
    assert sha256_hex(data) == digest.hex()
    return from_json(data)


async def test_a_device_enrols_and_learns_its_broker(server: RunningServer) -> None:
    answer = await enrol(server, "kitchen", KEY)
    assert answer.broker_host == ""
    assert server.addresses.broker == f"mqtt://127.0.0.1:{answer.broker_port}"
    assert not answer.broker_tls
    assert await enrol(server, "kitchen", KEY) == answer


async def test_another_key_does_not_get_the_id(server: RunningServer) -> None:
    await enrol(server, "kitchen", KEY)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await enrol(server, "kitchen", bytes(32))
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
    assert dict(caught.value.trailing_metadata() or ())[CODE_KEY] == "conflict"
    assert "--forget" in str(caught.value.details())


@pytest.mark.parametrize(("device_id", "key"), [("Kitchen!", KEY), ("", KEY), ("kitchen", KEY[:31])])
async def test_who_cannot_enrol(server: RunningServer, device_id: str, key: bytes) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await enrol(server, device_id, key)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_devices_may_be_told_another_broker(tmp_path: Path) -> None:
    async with running_server(tmp_path, advertised_broker="mqtts://broker.example") as server:
        answer = await enrol(server, "kitchen", KEY)
        assert (answer.broker_host, answer.broker_port, answer.broker_tls) == ("broker.example", 8883, True)


async def wide(server: RunningServer) -> list[BlobRef]:
    """All blobs of a version that has some large ones, the largest last."""
    version = await push(server.addresses.grpc, tiny_parts(width=256), block_size_bytes=1 << 20)
    manifest = await manifest_of(server, version.manifest_digest)
    return sorted(set(manifest.blob_refs()), key=lambda ref: ref.size_bytes)


async def test_every_blob_comes_whole_from_any_offset(server: RunningServer) -> None:
    refs = await wide(server)
    found = await fetched(server, *((ref.digest, 0) for ref in refs))
    for ref, data in zip(refs, found, strict=True):
        assert isinstance(data, bytes)
        assert sha256_hex(data) == ref.digest
    whole, largest = found[-1], refs[-1]
    offsets = (1, largest.size_bytes // 2, largest.size_bytes - 1, largest.size_bytes)
    assert await fetched(server, *((largest.digest, offset) for offset in offsets)) == [
        whole[offset:] for offset in offsets
    ]


async def test_thousands_of_small_blobs_cost_no_round_trip_each(server: RunningServer) -> None:
    ref = (await wide(server))[0]
    found = await fetched(server, *((ref.digest, 0) for _ in range(5000)))
    assert len(found) == 5000
    assert len(set(found)) == 1


async def test_what_cannot_be_had_is_said_in_its_place_and_the_stream_goes_on(server: RunningServer) -> None:
    refs = await wide(server)
    small, large = refs[0], refs[-1]
    wanted = [(UNKNOWN, 0), (small.digest, 0), (large.digest, large.size_bytes + 1), (large.digest, 0)]
    assert [item if isinstance(item, str) else len(item) for item in await fetched(server, *wanted)] == [
        "not_found",
        small.size_bytes,
        "invalid_input",
        large.size_bytes,
    ]


async def test_a_blob_that_the_store_has_lost_is_not_found(server: RunningServer) -> None:
    refs = await wide(server)
    lost = refs[3].digest
    (server.settings.data_dir / "blobs" / lost[:2] / lost[2:4] / lost).unlink()
    found = await fetched(server, *((ref.digest, 0) for ref in refs))
    assert [index for index, item in enumerate(found) if item == "not_found"] == [3]


async def test_the_server_stays_within_a_window_beyond_what_was_taken(server: RunningServer) -> None:
    largest = (await wide(server))[-1]
    device = Device(server)
    await device.want(*((largest.digest, 0) for _ in range(1000)))
    for _ in range(3):
        told_bytes = device.taken_bytes
        await device.tell()
        # The last read is abandoned with the call: what it might have brought is beyond the window.
        reading = asyncio.ensure_future(device.read())
        while (await asyncio.wait([reading], timeout=0.5))[0]:
            reading = asyncio.ensure_future(device.read())
        assert 0 < device.taken_bytes - told_bytes <= MAX_AHEAD_BYTES
        await device.tell()
        await reading
    device.call.cancel()


async def test_what_is_cancelled_does_not_come(server: RunningServer) -> None:
    refs = await wide(server)
    small, large = refs[0], refs[-1]
    device = Device(server)
    await device.want(*((large.digest, 0) for _ in range(100)), (small.digest, 0))
    first = await device.read()
    assert first.index == 0
    await device.cancel(large.digest)
    came: set[int] = set()
    while 100 not in came:
        answer = await device.read()
        came.add(answer.index)
        await device.tell()
    assert came <= {0, 1, 100}
    device.call.cancel()


async def test_more_may_be_wanted_while_the_stream_runs(server: RunningServer) -> None:
    refs = await wide(server)
    device = Device(server)
    for index, ref in enumerate(refs[:3]):
        await device.want((ref.digest, 0))
        answer = await device.read()
        assert (answer.index, answer.end, len(answer.data)) == (index, True, ref.size_bytes)
    device.call.cancel()


@pytest.mark.parametrize(("messages", "names"), [(1, 1025), (70, 1024)])
async def test_no_device_may_want_without_bounds(server: RunningServer, messages: int, names: int) -> None:
    largest = (await wide(server))[-1]
    device = Device(server)
    for _ in range(messages):
        await device.want(*[(largest.digest, 0)] * names)

    async def take_all() -> None:
        while True:
            await device.read()
            await device.tell()

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await take_all()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_cannot_have_been_taken_is_refused(server: RunningServer) -> None:
    device = Device(server)
    device.taken_bytes = 1 << 40
    await device.tell()
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await device.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_no_version_names_is_not_found(server: RunningServer) -> None:
    version = await push(server.addresses.grpc)
    manifest = await manifest_of(server, version.manifest_digest)
    catalog = catalog_pb2_grpc.CatalogServiceStub(server.channel)
    await catalog.DeleteVersion(catalog_pb2.DeleteVersionRequest(ref=version.ref))
    assert await fetched(server, (manifest.graph.digest, 0)) == ["not_found"]
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await manifest_of(server, version.manifest_digest)
    assert gone.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_digest_of_another_length(server: RunningServer) -> None:
    device = Device(server)
    await device.want(("abcd", 0))
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await device.read()
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_fetch_that_is_cut_goes_on_where_it_was(server: RunningServer) -> None:
    largest = (await wide(server))[-1]
    device = Device(server)
    await device.want((largest.digest, 0))
    first = await device.read()
    device.call.cancel()
    (rest,) = await fetched(server, (largest.digest, len(first.data)))
    assert isinstance(rest, bytes)
    assert sha256_hex(first.data + rest) == largest.digest
