"""Two servers on one PostgreSQL and one S3-compatible store, with the settings of docs/operations.md."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
from nestfleet.v1 import catalog_pb2, catalog_pb2_grpc, delivery_pb2, delivery_pb2_grpc

from common.blob_codec import decompress
from common.digest import sha256_hex, to_wire
from common.manifest import from_json
from server.settings import load_settings
from server.storage.object_store import open_blob_store
from tests.support import postgres
from tests.support.pushes import push, tiny_parts
from tests.support.server import RunningServer, running_server

MODELS = ("digits", "speech")
PUSHES = 3  # of each model on each server
PAGE = (Path(__file__).parents[3] / "docs" / "operations.md").read_text()
SHOWN = tomllib.loads(re.findall(r"^```toml\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)[0])


def test_the_settings_that_the_page_shows_are_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "server.toml"
    file.write_text("\n".join(f'{key} = "{value}"' for key, value in SHOWN.items()))
    settings = load_settings(file)
    assert settings.presigned_url_seconds == 900
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    (url,) = open_blob_store(settings.blobs).sign([sha256_hex(b"")], seconds=60)
    assert url.startswith(dict(parse_qsl(urlsplit(settings.blobs).query))["public_endpoint"])


@pytest.fixture
async def servers(tmp_path: Path, postgres_server: str, s3_url: str) -> AsyncIterator[list[RunningServer]]:
    # Pushes of this test wait in threads, and so do the servers, which share its loop.
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(64))
    async with AsyncExitStack() as stack:
        database = stack.enter_context(postgres.database(postgres_server, "nestfleet_production"))
        settings = {
            **SHOWN,
            "database_url": database,
            "blobs_url": s3_url,
            "broker_url": None,
            "max_pushes": 16,
        }
        yield [
            await stack.enter_async_context(running_server(tmp_path / name, **settings))
            for name in ("a", "b")
        ]


async def test_pushes_and_fetches_at_once_lose_nothing(servers: list[RunningServer]) -> None:
    parts = [tiny_parts(seed) for seed in range(2)]
    pushes = [
        push(server.addresses.grpc, parts[number % 2], model=model)
        for model in MODELS
        for server in servers
        for number in range(PUSHES)
    ]
    async with asyncio.timeout(120):
        pushed = await asyncio.gather(*pushes)
    for model in MODELS:
        numbers = sorted(version.ref.version for version in pushed if version.ref.model == model)
        assert numbers == list(range(1, PUSHES * len(servers) + 1))
    await asyncio.gather(*(check(server, version) for server in servers for version in pushed))


async def check(server: RunningServer, version: catalog_pb2.Version) -> None:
    """This server has the version, whichever took it in; its blobs are where it says."""
    catalog: catalog_pb2_grpc.CatalogServiceAsyncStub = catalog_pb2_grpc.CatalogServiceStub(server.channel)
    answer = await catalog.GetVersion(catalog_pb2.GetVersionRequest(ref=version.ref))
    data = decompress(answer.manifest_zstd, version.manifest_size_bytes)
    assert sha256_hex(data) == version.manifest_digest.hex()
    digests = [to_wire(ref.digest) for ref in set(from_json(data).blob_refs())]
    delivery: delivery_pb2_grpc.DeliveryServiceAsyncStub = delivery_pb2_grpc.DeliveryServiceStub(
        server.channel
    )
    urls = await delivery.GetBlobUrls(delivery_pb2.GetBlobUrlsRequest(digests=digests))
    assert len(urls.urls) == len(digests)
    async with httpx.AsyncClient(timeout=30) as client:
        for one in urls.urls:
            assert sha256_hex((await client.get(one.url)).content) == one.digest.hex()
