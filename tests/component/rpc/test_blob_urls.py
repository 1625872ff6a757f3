"""Signed URLs as a device gets them: real server, real S3 signatures, moto's store."""

from __future__ import annotations

import logging
from pathlib import Path

import grpc
import httpx
import pytest
from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from common.blob_codec import decompress
from common.digest import sha256_hex, to_wire
from common.manifest import Manifest, from_json
from tests.support.pushes import push
from tests.support.server import RunningServer, running_server

UNKNOWN = sha256_hex(b"no version names this")


def delivery(server: RunningServer) -> delivery_pb2_grpc.DeliveryServiceAsyncStub:
    return delivery_pb2_grpc.DeliveryServiceStub(server.channel)


async def pushed(server: RunningServer) -> Manifest:
    version = await push(server.addresses.grpc)
    request = delivery_pb2.GetManifestRequest(digest=version.manifest_digest)
    answer = await delivery(server).GetManifest(request)
    return from_json(decompress(answer.manifest_zstd, answer.manifest_size_bytes))


async def urls(server: RunningServer, *digests: str) -> dict[str, str]:
    request = delivery_pb2.GetBlobUrlsRequest(digests=[to_wire(digest) for digest in digests])
    answer = await delivery(server).GetBlobUrls(request)
    return {one.digest.hex(): one.url for one in answer.urls}


async def test_every_blob_of_a_version_can_be_had_past_the_server(
    tmp_path: Path, s3_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="server")
    async with running_server(tmp_path, blobs_url=s3_url, presigned_url_seconds=60) as server:
        manifest = await pushed(server)
        digests = {ref.digest for ref in manifest.blob_refs()}
        signed = await urls(server, UNKNOWN, *digests)
        assert signed.keys() == digests
        async with httpx.AsyncClient() as client:
            for digest, url in signed.items():
                assert sha256_hex((await client.get(url)).content) == digest
    assert not any("Signature" in record.getMessage() for record in caplog.records if record.name != "httpx")


async def test_none_are_given_unless_the_operator_wants_it(tmp_path: Path, s3_url: str) -> None:
    async with running_server(tmp_path, blobs_url=s3_url) as server:
        manifest = await pushed(server)
        assert await urls(server, manifest.graph.digest) == {}


async def test_a_folder_has_none_to_give(tmp_path: Path) -> None:
    async with running_server(tmp_path, presigned_url_seconds=60) as server:
        manifest = await pushed(server)
        assert await urls(server, manifest.graph.digest) == {}


@pytest.mark.parametrize("digests", [[b"short"], [bytes(32)] * 1025])
async def test_what_cannot_be_asked(tmp_path: Path, digests: list[bytes]) -> None:
    async with running_server(tmp_path) as server:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await delivery(server).GetBlobUrls(delivery_pb2.GetBlobUrlsRequest(digests=digests))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
