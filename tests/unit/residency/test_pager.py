"""Paging: the right codes at every level, nothing else in memory, and a whole state after any failure."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import IntegrityError
from device_agent.inference.dequantize import Dequantizer
from device_agent.residency.bit_planes import unpack_codes
from device_agent.residency.pager import Pager
from device_agent.residency.policy import total_bytes
from device_agent.residency.resident import Snapshot
from tests.support.blocks import RandomVersion, small_version

EVERY_CHOICE_OF_LEVELS = [levels for count in range(1, 8) for levels in combinations(range(2, 9), count)]


def codes_of(snapshot: Snapshot) -> list[bytes]:
    return [unpack_codes(part.codes).tobytes() for block in snapshot.blocks for part in block.parts]


def assert_weights(version: RandomVersion, snapshot: Snapshot) -> None:
    """Each part is what its own level says; a tensor's parts may be at different levels."""
    for name in version.codes:
        parts = snapshot.parts(name)
        weight = Dequantizer().weight(parts, highest_level=snapshot.levels[-1])
        rows = weight.reshape(weight.shape[0], -1).numpy()
        for resident in parts:
            part = resident.part
            expected = version.expected(name, resident.codes.level)[part.start : part.stop]
            np.testing.assert_array_equal(rows[part.start : part.stop], expected)


@settings(max_examples=60, deadline=None)
@given(levels=st.sampled_from(EVERY_CHOICE_OF_LEVELS), data=st.data())
def test_eviction_then_page_in_restores_identical_codes(levels: tuple[int, ...], data: st.DataObject) -> None:
    version = small_version(
        levels, seed=data.draw(st.integers(0, 20)), carry_bits=data.draw(st.integers(0, 3), label="carry")
    )
    start = data.draw(st.tuples(*[st.sampled_from(levels)] * 4))
    pager = Pager(version.manifest, version.read, start)
    first = pager.snapshot
    before, digest, size_bytes = codes_of(first), first.loaded_digest, first.size_bytes

    for target in data.draw(st.lists(st.tuples(*[st.sampled_from(levels)] * 4), min_size=1, max_size=3)):
        pager.set_levels(target)
        assert pager.levels[:3] == target[:3]
        assert_weights(version, pager.snapshot)
        assert pager.snapshot.level == min(target[:3])
    pager.set_levels(start)

    assert codes_of(pager.snapshot) == before == codes_of(first)
    assert pager.snapshot.loaded_digest == digest
    assert pager.snapshot.size_bytes == size_bytes


@given(st.tuples(*[st.sampled_from((4, 6, 8))] * 4), st.integers(0, 2))
@settings(deadline=None)
def test_memory_is_what_the_policy_counted(levels: tuple[int, ...], carry_bits: int) -> None:
    version = small_version(carry_bits=carry_bits)
    resident_bytes = Pager(version.manifest, version.read, levels).snapshot.size_bytes
    counted_bytes = total_bytes(version.manifest, levels)
    header_bytes = 100 * sum(
        3 * len(block.tensors) + len(block.floats) + 1 for block in version.manifest.blocks
    )
    assert resident_bytes <= counted_bytes <= resident_bytes + header_bytes


@pytest.mark.parametrize("carry_bits", [0, 1])
def test_going_down_reads_nothing_and_going_up_reads_the_shards_alone(carry_bits: int) -> None:
    version = small_version(carry_bits=carry_bits)
    blocks = version.manifest.blocks
    pager = Pager(version.manifest, version.read, (8, 8, 8, 4))
    version.reads.clear()

    down = pager.set_levels((4, 6, 8, 4))
    assert version.reads == []
    assert down.paged_in_bytes == 0
    assert down.paged_out_bytes > 0
    assert down.blocks == 2

    up = pager.set_levels((6, 8, 8, 8))
    assert version.reads == [blocks[0].blobs[1].digest, blocks[1].blobs[2].digest]
    assert up.paged_in_bytes == blocks[0].blobs[1].size_bytes + blocks[1].blobs[2].size_bytes
    assert up.paged_out_bytes == 0


def test_blocks_go_down_before_any_goes_up() -> None:
    version = small_version()
    pager = Pager(version.manifest, version.read, (4, 8, 8, 4))
    seen: list[tuple[int, ...]] = []

    def read(digest: str) -> bytes:
        seen.append(pager.levels)
        return version.read(digest)

    pager._read = read
    pager.set_levels((6, 4, 4, 4))
    assert seen == [(4, 4, 4, 4)]


def test_a_step_down_yields_the_codes_that_were_there_not_the_high_bits() -> None:
    version = small_version(carry_bits=1)
    pager = Pager(version.manifest, version.read, (8, 8, 8, 4))
    names = ("a", "b", "c")
    plain = {name: np.right_shift(version.codes[name][2], np.int8(4)) for name in names}
    assert all((plain[name] != version.codes[name][0]).any() for name in names)
    pager.set_levels((4, 4, 4, 4))
    for name in names:
        rows = np.concatenate([unpack_codes(part.codes) for part in pager.snapshot.parts(name)])
        np.testing.assert_array_equal(rows.astype(int) - 8, version.codes[name][0].reshape(-1))
    assert all(not part.carries for part in pager.snapshot.parts("c"))


@pytest.mark.parametrize("answered", [4, 6])
def test_parts_answer_as_if_they_were_lower_with_the_codes_of_that_level(answered: int) -> None:
    version = small_version(carry_bits=3)
    snapshot = Pager(version.manifest, version.read, (8, 6, 8, 4)).snapshot
    for name in version.codes:
        weight = Dequantizer().weight(snapshot.parts(name), highest_level=answered)
        rows = weight.reshape(weight.shape[0], -1).numpy()
        np.testing.assert_array_equal(rows, version.expected(name, answered))


def test_a_damaged_shard_leaves_whole_blocks_behind() -> None:
    version = small_version()
    pager = Pager(version.manifest, version.read, (4, 4, 4, 4))
    digest = version.manifest.blocks[1].blobs[1].digest
    good = version.blobs[digest]
    version.blobs[digest] = good[:-1] + bytes([good[-1] ^ 1])

    with pytest.raises(IntegrityError, match="other content"):
        pager.set_levels((6, 6, 6, 4))
    assert pager.levels == (6, 4, 4, 4)
    assert_weights(version, pager.snapshot)

    version.blobs[digest] = good
    pager.set_levels((6, 6, 6, 4))
    assert pager.snapshot.level == 6


@pytest.mark.parametrize("index", [0, 1, 2])
def test_codes_that_the_manifest_does_not_name_are_refused(index: int) -> None:
    version = small_version()
    block = version.manifest.blocks[0]
    digests = [*block.codes_digests]
    digests[index] = hashlib.sha256(b"other").hexdigest()
    wrong = replace(block, codes_digests=tuple(digests))
    manifest = replace(version.manifest, blocks=(wrong, *version.manifest.blocks[1:]))
    with pytest.raises(IntegrityError, match="not those that the manifest names"):
        Pager(manifest, version.read, (8, 8, 8, 4))


def test_a_blob_in_the_place_of_another_is_refused() -> None:
    version = small_version()
    block = version.manifest.blocks[1]
    swapped = replace(block, floats=("ghost",))
    manifest = replace(
        version.manifest, blocks=(version.manifest.blocks[0], swapped, *version.manifest.blocks[2:])
    )
    with pytest.raises(IntegrityError, match="disagree on 'float/ghost'"):
        Pager(manifest, version.read, (4, 4, 4, 4))


@pytest.mark.parametrize("levels", [(4, 4, 4), (4, 4, 4, 5), ()])
def test_levels_that_the_version_does_not_have_are_a_programming_error(levels: tuple[int, ...]) -> None:
    version = small_version()
    with pytest.raises(ValueError, match="4 blocks need levels of"):
        Pager(version.manifest, version.read, levels)
