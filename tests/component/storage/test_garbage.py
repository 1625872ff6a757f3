"""Garbage collection: only what no version names, only when it is old, and never what a push just put."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.digest import sha256_hex
from common.errors import NotFoundError
from server.registry.repository import Registry
from server.storage.garbage import Collected, collect
from server.storage.object_store import open_blob_store
from server.storage.port import BlobStore
from tests.support.factories import make_version

HOUR_SECONDS = 3600.0


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    opened = Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return open_blob_store(f"file://{tmp_path}/blobs")


def put(store: BlobStore, *contents: str) -> list[str]:
    digests = [sha256_hex(content.encode()) for content in contents]
    for digest, content in zip(digests, contents, strict=True):
        store.put(digest, content.encode())
    return digests


def held(store: BlobStore) -> set[str]:
    return {blob.digest for blob in store.list()}


def now_ms(store: BlobStore, *, after_seconds: float = 0.0) -> int:
    newest = max((blob.modified_unix_ms for blob in store.list()), default=0)
    return newest + int(after_seconds * 1000)


def test_what_versions_name_stays_and_the_rest_goes_when_it_is_old(
    store: BlobStore, registry: Registry
) -> None:
    named = set(put(store, "graph", "self-test", "base", "six", "eight"))
    put(store, "orphan", "another orphan")
    registry.add_version("digits", make_version("digits"))
    young = collect(
        store, registry, grace_seconds=HOUR_SECONDS, now_unix_ms=now_ms(store, after_seconds=1800)
    )
    assert young == Collected(0, 0)
    old = collect(store, registry, grace_seconds=HOUR_SECONDS, now_unix_ms=now_ms(store, after_seconds=7200))
    assert old == Collected(2, len("orphan") + len("another orphan"))
    assert held(store) == named


def test_a_deleted_version_frees_what_no_other_names(store: BlobStore, registry: Registry) -> None:
    put(store, "graph", "self-test", "a", "b", "c", "d")
    registry.add_version("digits", make_version("digits", contents=("a", "b", "c")))
    registry.add_version("digits", make_version("digits", contents=("a", "b", "d")))
    registry.delete_version("digits", 1)
    later_ms = now_ms(store, after_seconds=7200)
    assert collect(store, registry, grace_seconds=HOUR_SECONDS, now_unix_ms=later_ms).blobs == 1
    with pytest.raises(NotFoundError):
        store.size_bytes(sha256_hex(b"c"))


def test_a_dry_run_counts_the_same_and_deletes_nothing(store: BlobStore, registry: Registry) -> None:
    put(store, "orphan", "another")
    before = held(store)
    later_ms = now_ms(store, after_seconds=7200)
    promised = collect(store, registry, grace_seconds=HOUR_SECONDS, now_unix_ms=later_ms, dry_run=True)
    assert held(store) == before
    assert collect(store, registry, grace_seconds=HOUR_SECONDS, now_unix_ms=later_ms) == promised
    assert held(store) == set()


class LateNames:
    """A registry in which a push commits its version between the collector's two looks."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def named_blobs(self) -> frozenset[str]:
        return frozenset()

    def names_blob(self, digest: str) -> bool:
        return digest == self._digest


def test_a_blob_that_is_named_meanwhile_stays(store: BlobStore) -> None:
    (wanted, _) = put(store, "wanted", "orphan")
    later_ms = now_ms(store, after_seconds=7200)
    assert collect(store, LateNames(wanted), grace_seconds=0, now_unix_ms=later_ms).blobs == 1
    assert held(store) == {wanted}


class LatePut:
    """A registry during whose question a push puts the blob again, as of the collector's time."""

    def __init__(self, root: Path, touched_unix_ms: int) -> None:
        self._root, self._touched_unix_ms = root, touched_unix_ms

    def named_blobs(self) -> frozenset[str]:
        return frozenset()

    def names_blob(self, digest: str) -> bool:
        seconds = self._touched_unix_ms / 1000
        os.utime(self._root / digest[:2] / digest[2:4] / digest, (seconds, seconds))
        return False


def test_a_blob_that_is_put_again_meanwhile_stays(store: BlobStore, tmp_path: Path) -> None:
    (orphan,) = put(store, "orphan")
    later_ms = now_ms(store, after_seconds=7200)
    late = LatePut(tmp_path / "blobs", later_ms)
    assert collect(store, late, grace_seconds=HOUR_SECONDS, now_unix_ms=later_ms) == Collected(0, 0)
    assert held(store) == {orphan}
