"""What an S3-compatible store in trouble means to those who put, read and look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest

from common.digest import sha256_hex
from common.errors import CapacityError, ConfigError, Error, LinkError, NotFoundError
from server.storage.object_store import open_blob_store
from server.storage.port import BlobStore
from tests.support.faults.store_faults import (
    Answering,
    Fault,
    Full,
    ReadOnly,
    Silent,
    StoreProxy,
    Truncated,
    faulty_store,
)

DATA = b"weights" * 10_000
HELD, NEW, NEWS = sha256_hex(DATA), sha256_hex(b"new"), b"new"


@dataclass
class Place:
    store: BlobStore
    proxy: StoreProxy

    async def failure(self, work: Callable[[], object]) -> Error:
        with pytest.raises(Error) as caught:
            await asyncio.to_thread(work)
        return caught.value


@pytest.fixture
async def place(moto_endpoint: str, s3_url: str) -> AsyncIterator[Place]:
    open_blob_store(s3_url).put(HELD, DATA)
    async with faulty_store(moto_endpoint) as proxy:
        url = f"{s3_url.partition('?')[0]}?region=us-east-1&endpoint={proxy.url}"
        yield Place(open_blob_store(url, request_seconds=1), proxy)


async def test_a_store_that_can_only_be_read_says_so_and_is_read(place: Place) -> None:
    place.proxy.fault = ReadOnly()
    for work in (
        lambda: place.store.put(NEW, NEWS),
        lambda: place.store.put(HELD, DATA),
        lambda: place.store.delete(HELD),
    ):
        failure = await place.failure(work)
        assert type(failure) is ConfigError
        assert "can only be read: it answered 403" in failure.message
        assert "put and delete" in failure.advice
    assert await asyncio.to_thread(place.store.read, HELD) == DATA


async def test_a_full_store_is_a_lack_of_capacity(place: Place) -> None:
    place.proxy.fault = Full()
    failure = await place.failure(lambda: place.store.put(NEW, NEWS))
    assert type(failure) is CapacityError
    assert await asyncio.to_thread(place.store.read, HELD) == DATA


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Answering(401), ConfigError),
        (Answering(403), ConfigError),
        (Answering(400), LinkError),
        (Answering(429), LinkError),
        (Answering(500), LinkError),
        (Answering(503), LinkError),
        (Silent(), LinkError),
        (Truncated(), LinkError),
    ],
    ids=lambda item: (
        f"{type(item).__name__}{getattr(item, '_status', '')}" if isinstance(item, Fault) else ""
    ),
)
async def test_a_store_in_trouble_is_given_up_in_time_and_its_address_kept(
    place: Place, fault: Fault, kind: type[Error]
) -> None:
    place.proxy.fault = fault
    async with asyncio.timeout(10):
        failure = await place.failure(lambda: place.store.read(HELD))
    assert type(failure) is kind
    assert failure.advice
    assert place.proxy.url.removeprefix("http://") not in str(failure)
    place.proxy.fault = Fault()
    assert await asyncio.to_thread(place.store.read, HELD) == DATA


async def test_trouble_that_passes_at_once_is_not_noticed(place: Place) -> None:
    place.proxy.fault = Answering(503, times=2)
    assert await asyncio.to_thread(place.store.put, NEW, NEWS)
    place.proxy.fault = Answering(500, times=2)
    assert await asyncio.to_thread(place.store.read, NEW) == NEWS


async def test_a_blob_that_is_there_is_uploaded_once(place: Place) -> None:
    assert not await asyncio.to_thread(place.store.put, HELD, DATA)
    assert [request.method for request in place.proxy.seen] == ["HEAD", "PUT"]


async def test_a_store_that_is_not_there(s3_url: str) -> None:
    store = open_blob_store(s3_url.replace("nestfleet-test-", "no-such-bucket-"))
    for work in (lambda: store.put(NEW, NEWS), lambda: store.read(NEW)):
        with pytest.raises(ConfigError, match="no such bucket"):
            work()
    gone = open_blob_store(
        "s3://bucket/x?region=us-east-1&endpoint=http%3A%2F%2F127.0.0.1%3A1", request_seconds=1
    )
    with pytest.raises(LinkError, match="failed"):
        gone.read(NEW)


async def test_plain_http_is_spoken_only_where_it_is_meant(
    s3_url: str, moto_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_endpoint)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    place = s3_url.partition("?")[0]
    with pytest.raises(ConfigError, match="plain HTTP"):
        open_blob_store(place).put(NEW, NEWS)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    assert open_blob_store(place).put(NEW, NEWS)
    with pytest.raises(NotFoundError):
        open_blob_store(place).read(HELD)


@pytest.mark.parametrize(
    "url",
    [
        "s3://key:secret@bucket/x",
        "s3:///x",
        "s3://bucket?endpoint=nowhere",
        "s3://bucket?endpoint=https://key:secret@host",
        "s3://bucket?public_endpoint=ftp://host",
        "s3://bucket?colour=blue",
        "s3://bucket?endpoint=",
    ],
)
def test_a_url_that_cannot_be_meant_is_refused_and_no_secret_repeated(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_blob_store(url)
    assert "secret" not in str(refused.value)
