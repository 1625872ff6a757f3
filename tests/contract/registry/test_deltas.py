"""Deltas: remembered once for two versions, named while both are there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from common.errors import NotFoundError
from server.registry.records import DeltaRecord
from server.registry.repository import Registry
from tests.support.factories import blob_ref, make_version

DELTA, OTHER = blob_ref("delta").digest, blob_ref("other delta").digest


@pytest.fixture
def delta(registry: Registry) -> DeltaRecord:
    """A delta between two versions of the registry, not recorded."""
    held, wanted = (registry.add_version("digits", make_version("digits")) for _ in range(2))
    return DeltaRecord(held.manifest_digest, wanted.manifest_digest, 3, 0, 2, DELTA, 1 << 40)


def test_a_delta_comes_back_whole_and_is_named(registry: Registry, delta: DeltaRecord) -> None:
    assert registry.deltas(delta.held_digest, delta.wanted_digest) == []
    assert not registry.names_blob(DELTA)
    assert registry.record_delta(delta) == delta
    assert registry.deltas(delta.held_digest, delta.wanted_digest) == [delta]
    assert registry.deltas(delta.wanted_digest, delta.held_digest) == []
    assert registry.names_blob(DELTA)
    assert DELTA in registry.named_blobs()


def test_what_is_not_worth_its_while_is_remembered_and_names_nothing(
    registry: Registry, delta: DeltaRecord
) -> None:
    nothing = replace(delta, delta_digest="", size_bytes=0)
    assert registry.record_delta(nothing) == nothing
    assert registry.deltas(delta.held_digest, delta.wanted_digest) == [nothing]
    assert "" not in registry.named_blobs()
    assert not registry.names_blob("")


def test_who_comes_first_counts(registry: Registry, delta: DeltaRecord) -> None:
    registry.record_delta(delta)
    assert registry.record_delta(replace(delta, delta_digest=OTHER, size_bytes=7)) == delta
    assert not registry.names_blob(OTHER)


def test_all_who_come_at_once_learn_of_the_same(registry: Registry, delta: DeltaRecord) -> None:
    digests = [blob_ref(str(number)).digest for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        kept = list(
            pool.map(lambda digest: registry.record_delta(replace(delta, delta_digest=digest)), digests)
        )
    assert len({record.delta_digest for record in kept}) == 1


def test_places_are_told_apart_and_come_in_order(registry: Registry, delta: DeltaRecord) -> None:
    places = [(0, 0, 0), (0, 0, 2), (0, 1, 2), (4, 0, 0)]
    records = [replace(delta, block=block, first=first, last=last) for block, first, last in places]
    for record in reversed(records):
        registry.record_delta(record)
    assert registry.deltas(delta.held_digest, delta.wanted_digest) == records


@pytest.mark.parametrize("version", [1, 2])
def test_a_delta_goes_with_either_of_its_versions(
    registry: Registry, delta: DeltaRecord, version: int
) -> None:
    registry.record_delta(delta)
    registry.delete_version("digits", version)
    assert not registry.names_blob(DELTA)
    assert DELTA not in registry.named_blobs()
    assert registry.deltas(delta.held_digest, delta.wanted_digest) == []
    with pytest.raises(NotFoundError, match="manifest"):
        registry.record_delta(delta)


def test_a_delta_between_other_versions_stays(registry: Registry, delta: DeltaRecord) -> None:
    third = registry.add_version("speech", make_version("speech"))
    other = replace(delta, held_digest=third.manifest_digest, delta_digest=OTHER)
    registry.record_delta(delta)
    registry.record_delta(other)
    registry.delete_version("digits", 1)
    assert registry.deltas(other.held_digest, other.wanted_digest) == [other]
    assert registry.names_blob(OTHER)


def test_versions_that_nobody_has_have_no_deltas(registry: Registry, delta: DeltaRecord) -> None:
    with pytest.raises(NotFoundError):
        registry.record_delta(replace(delta, held_digest="ab" * 32))
