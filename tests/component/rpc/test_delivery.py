from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from nestfleet.v1 import catalog_pb2, catalog_pb2_grpc, delivery_pb2, delivery_pb2_grpc

from common.blob_codec import decompress
from common.channel import MIN_CHUNK_BYTES
from common.digest import sha256_hex
from common.manifest import Manifest, from_json
from common.rpc_status import CODE_KEY
from tests.support.pushes import push, tiny_parts
from tests.support.server import RunningServer, running_server

KEY = bytes(range(32))


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


async def fetched(server: RunningServer, digest: str, offset_bytes: int = 0) -> list[bytes]:
    request = delivery_pb2.FetchBlobRequest(digest=bytes.fromhex(digest), offset_bytes=offset_bytes)
    chunks = []
    async for response in delivery(server).FetchBlob(request):
        assert response.offset_bytes == offset_bytes
        offset_bytes += len(response.data)
        chunks.append(response.data)
    return chunks


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


async def test_every_blob_comes_whole_from_any_offset(server: RunningServer) -> None:
    version = await push(server.addresses.grpc, tiny_parts(width=64), block_size_bytes=1 << 20)
    manifest = await manifest_of(server, version.manifest_digest)
    refs = sorted(set(manifest.blob_refs()), key=lambda ref: ref.size_bytes)
    for ref in refs:
        assert sha256_hex(b"".join(await fetched(server, ref.digest))) == ref.digest
    largest = refs[-1]
    whole = b"".join(await fetched(server, largest.digest))
    for offset_bytes in (1, largest.size_bytes // 2, largest.size_bytes - 1, largest.size_bytes):
        rest = b"".join(await fetched(server, largest.digest, offset_bytes))
        assert rest == whole[offset_bytes:]


async def test_chunks_stay_within_bounds(server: RunningServer) -> None:
    version = await push(server.addresses.grpc, tiny_parts(width=256), block_size_bytes=1 << 20)
    manifest = await manifest_of(server, version.manifest_digest)
    largest = max(manifest.blob_refs(), key=lambda ref: ref.size_bytes)
    assert largest.size_bytes > MIN_CHUNK_BYTES
    request = delivery_pb2.FetchBlobRequest(digest=bytes.fromhex(largest.digest), chunk_size_bytes=1)
    sizes_bytes = [len(answer.data) async for answer in delivery(server).FetchBlob(request)]
    assert set(sizes_bytes[:-1]) == {MIN_CHUNK_BYTES}
    assert 0 < sizes_bytes[-1] <= MIN_CHUNK_BYTES


async def test_an_offset_beyond_the_end(server: RunningServer) -> None:
    version = await push(server.addresses.grpc)
    manifest = await manifest_of(server, version.manifest_digest)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fetched(server, manifest.graph.digest, manifest.graph.size_bytes + 1)
    assert caught.value.code() is grpc.StatusCode.OUT_OF_RANGE


async def test_what_no_version_names_is_not_found(server: RunningServer) -> None:
    version = await push(server.addresses.grpc)
    manifest = await manifest_of(server, version.manifest_digest)
    catalog = catalog_pb2_grpc.CatalogServiceStub(server.channel)
    await catalog.DeleteVersion(catalog_pb2.DeleteVersionRequest(ref=version.ref))
    with pytest.raises(grpc.aio.AioRpcError) as blob:
        await fetched(server, manifest.graph.digest)
    with pytest.raises(grpc.aio.AioRpcError) as gone:
        await manifest_of(server, version.manifest_digest)
    assert blob.value.code() is gone.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_digest_of_another_length(server: RunningServer) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await fetched(server, "abcd")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_fetch_that_is_cut_goes_on_where_it_was(server: RunningServer) -> None:
    version = await push(server.addresses.grpc, tiny_parts(width=256), block_size_bytes=1 << 20)
    manifest = await manifest_of(server, version.manifest_digest)
    largest = max(manifest.blob_refs(), key=lambda ref: ref.size_bytes)
    request = delivery_pb2.FetchBlobRequest(digest=bytes.fromhex(largest.digest))
    call = delivery(server).FetchBlob(request)
    first = await call.read()
    assert isinstance(first, delivery_pb2.FetchBlobResponse)
    call.cancel()
    rest = await fetched(server, largest.digest, len(first.data))
    assert sha256_hex(b"".join([first.data, *rest])) == largest.digest
