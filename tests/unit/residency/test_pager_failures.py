"""A change that fails: what was there before is there again, whatever failed and wherever."""

from __future__ import annotations

from collections.abc import Collection

import pytest

from common.errors import IntegrityError, NotFoundError
from device_agent.residency.pager import Pager
from device_agent.residency.resident import Snapshot
from tests.support.blocks import RandomVersion, small_version
from tests.support.residency import assert_weights, forms_of, state_of

UNPACKED = [(), ("a", "c"), ("c",)]


def spoil(version: RandomVersion, block: int, index: int) -> bytes:
    digest = version.manifest.blocks[block].blobs[index].digest
    good = version.blobs[digest]
    version.blobs[digest] = good[:-1] + bytes([good[-1] ^ 1])
    return good


@pytest.mark.parametrize("unpacked", UNPACKED)
@pytest.mark.parametrize("block", [0, 1, 2])
@pytest.mark.parametrize("carry_bits", [0, 1])
def test_a_damaged_shard_leaves_the_levels_as_they_were(
    block: int, carry_bits: int, unpacked: Collection[str]
) -> None:
    version = small_version(carry_bits=carry_bits, with_level_floats=True)
    pager = Pager(version.manifest, version.read, (4, 4, 4, 4), unpacked=unpacked)
    before = state_of(pager.snapshot)
    good = spoil(version, block, 2)

    with pytest.raises(IntegrityError, match="other content"):
        pager.set_levels((8, 8, 8, 4))
    assert state_of(pager.snapshot) == before
    assert_weights(version, pager.snapshot)

    version.blobs[version.manifest.blocks[block].blobs[2].digest] = good
    pager.set_levels((8, 8, 8, 4))
    assert pager.snapshot.level == 8
    assert_weights(version, pager.snapshot)


@pytest.mark.parametrize("unpacked", UNPACKED)
def test_blocks_that_went_down_are_read_again(unpacked: Collection[str]) -> None:
    version = small_version()
    pager = Pager(version.manifest, version.read, (8, 4, 4, 4), unpacked=unpacked)
    before, digest = state_of(pager.snapshot), pager.snapshot.loaded_digest
    spoil(version, 2, 1)
    version.reads.clear()

    with pytest.raises(IntegrityError, match="other content"):
        pager.set_levels((4, 6, 6, 4))
    assert state_of(pager.snapshot) == before
    assert pager.snapshot.loaded_digest == digest
    assert version.reads[-2:] == [ref.digest for ref in version.manifest.blocks[0].blobs[1:]]


def test_what_the_disk_does_not_give_again_is_whole_and_named() -> None:
    version = small_version()
    pager = Pager(version.manifest, version.read, (8, 4, 8, 4))
    spoil(version, 0, 2)
    spoil(version, 1, 1)

    with pytest.raises(
        IntegrityError, match=r"blocks \[0\] did not come back .* levels \[4, 4, 8, 4\]"
    ) as seen:
        pager.set_levels((4, 6, 4, 4))
    assert pager.levels == (4, 4, 8, 4)
    assert "again" in seen.value.advice
    assert_weights(version, pager.snapshot)


def test_any_error_of_the_disk_is_passed_on_after_the_way_back() -> None:
    version = small_version()
    pager = Pager(version.manifest, version.read, (4, 4, 4, 4))
    before = state_of(pager.snapshot)
    pager._read = lambda digest: version.read(digest) if len(version.reads) % 2 else _missing(digest)
    with pytest.raises(NotFoundError):
        pager.set_levels((8, 8, 8, 4))
    assert state_of(pager.snapshot) == before


@pytest.mark.parametrize("fails_at", [1, 2])
def test_an_executor_that_fails_leaves_levels_and_forms_as_they_were(fails_at: int) -> None:
    version = small_version()
    calls: list[Collection[int]] = []

    def prepare(snapshot: Snapshot, changed: Collection[int]) -> Snapshot:
        calls.append(changed)
        if len(calls) == fails_at:
            raise MemoryError
        return snapshot

    def pager_at_4() -> Pager:
        calls[:] = [()] * 10
        pager = Pager(version.manifest, version.read, (4, 4, 4, 4), unpacked=("a",), prepare=prepare)
        calls.clear()
        return pager

    pager = pager_at_4()
    before, forms = state_of(pager.snapshot), forms_of(pager.snapshot)
    with pytest.raises(MemoryError):
        pager.set_levels((8, 8, 8, 4))
    assert (state_of(pager.snapshot), forms_of(pager.snapshot)) == (before, forms)

    pager = pager_at_4()
    with pytest.raises(MemoryError):
        pager.set_unpacked(("c",))
    assert (state_of(pager.snapshot), forms_of(pager.snapshot)) == (before, forms)
    calls.clear()
    fails_at = 100
    pager.set_unpacked(("c",))
    assert forms_of(pager.snapshot) == {"a": {False}, "b": {False}, "c": {True}}


def _missing(digest: str) -> bytes:
    raise NotFoundError(f"Blob {digest[:12]} is not in the store.")
