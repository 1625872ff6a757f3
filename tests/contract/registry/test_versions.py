"""Versions: numbered without gaps or reuse, added whole, withdrawn with care."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from common import manifest as manifests
from common.errors import ConflictError, InvalidInputError, NotFoundError
from server.registry.records import NewVersion
from server.registry.repository import Registry
from tests.support.factories import blob_ref, make_version, manifest, sizes


def test_a_version_comes_back_whole(registry: Registry) -> None:
    added = registry.add_version("digits", make_version("digits", scale=1 << 33))
    assert (added.model, added.version, added.levels, added.rounding) == ("digits", 1, (4, 6, 8), "floor")
    assert (added.blocks, added.blobs) == (1, 5)
    assert added.sizes == sizes(1 << 33)
    assert registry.get_version("digits", 1) == registry.get_version("digits") == added
    data = registry.get_manifest(added.manifest_digest)
    assert manifests.from_json(data) == manifest("digits", 1)
    assert len(data) == added.manifest_size_bytes


def test_a_report_is_named_like_every_other_blob_until_the_version_goes(registry: Registry) -> None:
    report = blob_ref("report")

    def make(number: int) -> NewVersion:
        return NewVersion(replace(manifest("digits", number), fidelity=report), sizes())

    added = registry.add_version("digits", make)
    assert added.blobs == 6
    assert registry.names_blob(report.digest)
    assert report.digest in registry.named_blobs()
    registry.delete_version("digits", 1)
    assert not registry.names_blob(report.digest)


def test_numbers_rise_by_one_for_each_model(registry: Registry) -> None:
    names = ["digits", "digits", "speech", "digits"]
    versions = [registry.add_version(name, make_version(name)).version for name in names]
    assert versions == [1, 2, 1, 3]
    assert registry.get_version("digits").version == 3


def test_many_at_once_get_a_number_each(registry: Registry) -> None:
    with ThreadPoolExecutor(6) as pool:
        added = list(pool.map(lambda _: registry.add_version("digits", make_version("digits")), range(18)))
    assert sorted(record.version for record in added) == list(range(1, 19))
    for record in added:
        data = registry.get_manifest(record.manifest_digest)
        assert manifests.from_json(data).version == record.version


def test_the_number_of_a_deleted_version_is_not_given_again(registry: Registry) -> None:
    for _ in range(2):
        registry.add_version("digits", make_version("digits"))
    registry.delete_version("digits", 2)
    assert registry.get_version("digits").version == 1
    assert registry.add_version("digits", make_version("digits")).version == 3


def test_a_version_that_fails_in_the_making_leaves_nothing(registry: Registry) -> None:
    def fail(number: int) -> NewVersion:
        raise InvalidInputError(f"no manifest for {number}")

    with pytest.raises(InvalidInputError, match="no manifest for 1"):
        registry.add_version("digits", fail)
    with pytest.raises(ValueError, match="made for digits:1"):
        registry.add_version("digits", make_version("speech"))
    assert registry.list_versions() == []
    assert registry.named_blobs() == frozenset()


def test_a_model_needs_a_name(registry: Registry) -> None:
    with pytest.raises(InvalidInputError):
        registry.add_version("../digits", make_version("digits"))


def test_what_is_missing_is_named_beside_what_there_is(registry: Registry) -> None:
    with pytest.raises(NotFoundError, match=r"no model digits.*nestfleet push"):
        registry.get_version("digits")
    registry.add_version("speech", make_version("speech"))
    registry.add_version("speech", make_version("speech"))
    with pytest.raises(NotFoundError, match=r"no model digits.*speech"):
        registry.get_version("digits")
    with pytest.raises(NotFoundError, match=r"no version 7.*2, 1"):
        registry.get_version("speech", 7)
    with pytest.raises(NotFoundError):
        registry.get_manifest("0" * 64)


def test_the_list_is_by_model_and_newest_first_and_bounded(registry: Registry) -> None:
    for name in ("speech", "digits", "speech"):
        registry.add_version(name, make_version(name))
    assert [(item.model, item.version) for item in registry.list_versions()] == [
        ("digits", 1),
        ("speech", 2),
        ("speech", 1),
    ]
    assert len(registry.list_versions(limit=2)) == 2


def test_a_deleted_version_names_no_blob_but_keeps_its_sizes(registry: Registry) -> None:
    first = registry.add_version("digits", make_version("digits", contents=("a", "b", "c")))
    registry.add_version("digits", make_version("digits", contents=("a", "x", "y"), scale=2))
    registry.delete_version("digits", 1)
    assert [registry.names_blob(blob_ref(name).digest) for name in "abcxy"] == [
        True,
        False,
        False,
        True,
        True,
    ]
    assert registry.named_blobs() == {blob_ref(name).digest for name in ("a", "x", "y", "graph", "self-test")}
    asked = [blob_ref(name).digest for name in "abcxy"]
    assert registry.named_among(asked) == {digest for digest in asked if registry.names_blob(digest)}
    assert registry.named_among([]) == frozenset()
    with pytest.raises(NotFoundError):
        registry.get_manifest(first.manifest_digest)
    assert registry.sizes() == {("digits", 1): sizes(), ("digits", 2): sizes(2)}


def test_deleting_asks_for_an_existing_number(registry: Registry) -> None:
    registry.add_version("digits", make_version("digits"))
    with pytest.raises(InvalidInputError):
        registry.delete_version("digits", 0)
    with pytest.raises(NotFoundError):
        registry.delete_version("digits", 2)
    registry.delete_version("digits", 1)
    with pytest.raises(NotFoundError):
        registry.delete_version("digits", 1)


def test_an_assigned_version_stays_until_it_is_no_longer_assigned(registry: Registry) -> None:
    for _ in range(2):
        registry.add_version("digits", make_version("digits"))
    registry.enrol("board-1", "key", "0.1", "linux", 1)
    registry.assign(["board-1"], "digits", 1, now_ms=2)
    with pytest.raises(ConflictError, match="board-1"):
        registry.delete_version("digits", 1)
    registry.assign(["board-1"], "digits", 2, now_ms=3)
    registry.delete_version("digits", 1)


def test_deleting_and_assigning_at_once_never_leaves_a_device_without_its_version(
    registry: Registry,
) -> None:
    numbers = iter(range(1, 5))
    registry.enrol("board-1", "key", "0.1", "linux", 1)

    def race(number: int) -> Iterator[bool]:
        registry.add_version("digits", make_version("digits"))
        with ThreadPoolExecutor(2) as pool:
            assigned = pool.submit(registry.assign, None, "digits", number, now_ms=2)
            deleted = pool.submit(registry.delete_version, "digits", number)
            yield isinstance(assigned.exception(), NotFoundError)
            yield isinstance(deleted.exception(), ConflictError)

    for number in numbers:
        assert sum(race(number)) == 1
        registry.forget_device("board-1")
        registry.enrol("board-1", "key", "0.1", "linux", 1)
