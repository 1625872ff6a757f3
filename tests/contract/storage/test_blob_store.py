"""What every blob store does, whatever lies under it."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from common.digest import sha256_hex
from common.errors import IntegrityError, InvalidInputError, NotFoundError
from server.storage.object_store import open_blob_store
from server.storage.port import BlobSlice, BlobStore
from tests.support import moto

MISSING = sha256_hex(b"never stored")


@pytest.fixture(params=["folder", "memory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    if request.param == "s3":
        return empty_s3(os.environ.get(moto.URL_VARIABLE) or request.getfixturevalue("s3_url"))
    return open_blob_store(f"file://{tmp_path}/a folder/blobs" if request.param == "folder" else "memory://")


def empty_s3(url: str) -> BlobStore:
    store = open_blob_store(url)
    for blob in list(store.list()):
        store.delete(blob.digest)
    return store


def put(store: BlobStore, data: bytes) -> str:
    digest = sha256_hex(data)
    store.put(digest, data)
    return digest


def test_a_blob_comes_back_and_is_new_once(store: BlobStore) -> None:
    data = b"weights" * 1000
    digest = sha256_hex(data)
    assert store.put(digest, data) is True
    assert store.put(digest, data) is False
    assert store.read(digest) == data
    assert store.size_bytes(digest) == len(data)


def test_bytes_under_a_foreign_name_are_refused_and_not_kept(store: BlobStore) -> None:
    with pytest.raises(IntegrityError) as refused:
        store.put(MISSING, b"something else")
    assert (refused.value.expected, refused.value.actual) == (MISSING, sha256_hex(b"something else"))
    assert list(store.list()) == []


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n", "/" * 64])
def test_what_is_no_digest_is_refused_everywhere(store: BlobStore, name: str) -> None:
    for call in (
        lambda: store.put(name, b"x"),
        lambda: store.read(name),
        lambda: store.size_bytes(name),
        lambda: store.modified_unix_ms(name),
        lambda: store.delete(name),
    ):
        with pytest.raises(InvalidInputError):
            call()


def test_an_unknown_blob_is_not_found(store: BlobStore) -> None:
    for call in (store.read, store.size_bytes, store.modified_unix_ms):
        with pytest.raises(NotFoundError):
            call(MISSING)
    with pytest.raises(NotFoundError):
        store.slice(MISSING, offset_bytes=0, limit_bytes=10)
    store.delete(MISSING)


@given(
    data=st.binary(max_size=2000), offset=st.integers(0, 2000), limit_bytes=st.integers(1, 700)
)  # fmt: skip
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_a_slice_begins_and_ends_where_it_should(
    store: BlobStore, data: bytes, offset: int, limit_bytes: int
) -> None:
    offset = min(offset, len(data))
    found = store.slice(put(store, data), offset_bytes=offset, limit_bytes=limit_bytes)
    assert found == BlobSlice(data[offset : offset + limit_bytes], len(data))


@pytest.mark.parametrize(("offset_bytes", "limit_bytes"), [(6, 10), (-1, 10), (0, 0)])
def test_a_slice_outside_the_blob_is_refused(store: BlobStore, offset_bytes: int, limit_bytes: int) -> None:
    digest = put(store, b"five!")
    with pytest.raises(InvalidInputError):
        store.slice(digest, offset_bytes=offset_bytes, limit_bytes=limit_bytes)


async def test_a_deleted_blob_is_gone(store: BlobStore) -> None:
    digest = put(store, b"x")
    store.delete(digest)
    with pytest.raises(NotFoundError):
        store.read(digest)
    assert list(store.list()) == []


def test_the_list_has_every_blob_with_its_size_and_age(store: BlobStore) -> None:
    before_ms = int(time.time() * 1000) - 1000
    sizes = {put(store, bytes(size)): size for size in range(20)}
    listed = list(store.list())
    assert {blob.digest: blob.size_bytes for blob in listed} == sizes
    for blob in listed:
        assert before_ms <= blob.modified_unix_ms <= int(time.time() * 1000) + 1000
        assert blob.modified_unix_ms == store.modified_unix_ms(blob.digest)


def test_putting_again_makes_a_blob_young(store: BlobStore) -> None:
    digest = put(store, b"orphan")
    first_ms = store.modified_unix_ms(digest)
    deadline = time.monotonic() + 60
    while store.modified_unix_ms(digest) == first_ms and time.monotonic() < deadline:
        store.put(digest, b"orphan")
    assert store.modified_unix_ms(digest) > first_ms


def test_writers_at_once_agree_and_one_of_them_was_first(store: BlobStore) -> None:
    data = b"shared" * 50_000
    digest = sha256_hex(data)
    with ThreadPoolExecutor(8) as pool:
        news = list(pool.map(lambda _: store.put(digest, data), range(16)))
    assert news.count(True) == 1
    assert store.read(digest) == data


def test_signed_urls_give_the_blobs_from_any_byte_where_the_store_can_sign(store: BlobStore) -> None:
    data = b"weights" * 1000
    digests = [put(store, data), MISSING]
    urls = store.sign(digests, seconds=60)
    if not urls:
        pytest.skip("a folder and memory sign nothing")
    found = httpx.get(urls[0], headers={"Range": "bytes=6990-"})
    assert (found.status_code, found.content) == (206, data[6990:])
    assert httpx.get(urls[0]).content == data
    assert httpx.get(urls[1]).status_code == 404


def test_only_digests_are_signed_and_nothing_is_for_none(store: BlobStore) -> None:
    with pytest.raises(InvalidInputError):
        store.sign(["../../etc/passwd"], seconds=60)
    assert store.sign([], seconds=60) == []


def test_a_slice_at_once_is_the_slice_or_nothing(store: BlobStore) -> None:
    digest = put(store, b"five!")
    for offset_bytes, limit_bytes in ((0, 3), (2, 10), (4, 1)):
        found = store.slice_at_once(digest, offset_bytes=offset_bytes, limit_bytes=limit_bytes)
        expected = store.slice(digest, offset_bytes=offset_bytes, limit_bytes=limit_bytes)
        assert found in {None, expected}
    for name, offset_bytes in ((digest, 5), (digest, -1), (digest, 6), (MISSING, 0), ("../x", 0)):
        assert store.slice_at_once(name, offset_bytes=offset_bytes, limit_bytes=10) is None
