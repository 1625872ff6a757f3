"""Paging: the right codes at every level, nothing else in memory, and a whole state after any failure."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.block_codec import ROW_BYTES, decode, encode, shape_of
from common.errors import IntegrityError
from device_agent.inference.dequantize import Dequantizer
from device_agent.residency.pager import Pager
from device_agent.residency.policy import total_bytes
from device_agent.residency.resident import Snapshot
from tests.support.blocks import RandomVersion, small_version
from tests.support.residency import assert_weights, state_of

EVERY_CHOICE_OF_LEVELS = [levels for count in range(1, 8) for levels in combinations(range(2, 9), count)]


def codes_of(snapshot: Snapshot) -> list[bytes]:
    return [part.codes.unsigned().tobytes() for block in snapshot.blocks for part in block.parts]


@st.composite
def versions(draw: st.DrawFn) -> RandomVersion:
    """Versions of all kinds: any levels, wide shards or not, bases anywhere, floats of each level or not."""
    levels = draw(st.sampled_from(EVERY_CHOICE_OF_LEVELS))
    return small_version(
        levels,
        seed=draw(st.integers(0, 20)),
        carry_bits=draw(st.integers(0, 3)),
        bases=(*draw(st.tuples(*[st.sampled_from(levels)] * 3)), levels[0]),
        with_level_floats=draw(st.booleans()),
    )


@settings(max_examples=80, deadline=None)
@given(version=versions(), data=st.data())
def test_eviction_then_page_in_restores_identical_codes(version: RandomVersion, data: st.DataObject) -> None:
    levels = version.manifest.levels
    bases = version.manifest.base_levels()
    start = data.draw(st.tuples(*[st.sampled_from(levels)] * 4))
    pager = Pager(version.manifest, version.read, start)
    first = pager.snapshot
    before, digest, size_bytes = codes_of(first), first.loaded_digest, first.size_bytes

    for target in data.draw(st.lists(st.tuples(*[st.sampled_from(levels)] * 4), min_size=1, max_size=3)):
        pager.set_levels(target)
        reached = tuple(map(max, target, bases))
        assert pager.levels[:3] == reached[:3]
        assert_weights(version, pager.snapshot)
        assert pager.snapshot.level == min(reached[:3])
        fresh = Pager(version.manifest, version.read, target).snapshot
        assert state_of(pager.snapshot) == state_of(fresh)
    pager.set_levels(start)

    assert codes_of(pager.snapshot) == before == codes_of(first)
    assert pager.snapshot.loaded_digest == digest
    assert pager.snapshot.size_bytes == size_bytes


@given(versions(), st.data())
@settings(deadline=None)
def test_memory_is_what_the_policy_counted(version: RandomVersion, data: st.DataObject) -> None:
    levels = data.draw(st.tuples(*[st.sampled_from(version.manifest.levels)] * 4))
    resident_bytes = Pager(version.manifest, version.read, levels).snapshot.size_bytes
    counted_bytes = total_bytes(version.manifest, levels)
    header_bytes = 100 * sum(
        (len(block.floats) + len(block.level_floats) + 1) * (len(block.blobs) if block.level_floats else 1)
        for block in version.manifest.blocks
    )
    # The policy counts a scale and an offset a row for each level, of which fits hold less.
    header_bytes += sum(
        ROW_BYTES * part.rows * len(block.blobs)
        for block in version.manifest.blocks
        for part in block.tensors
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
        rows = np.concatenate([part.codes.unsigned() for part in pager.snapshot.parts(name)])
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


@given(versions(), st.data())
@settings(max_examples=40, deadline=None)
def test_blocks_answer_as_if_they_were_lowered_as_far_as_their_bases_allow(
    version: RandomVersion, data: st.DataObject
) -> None:
    levels = version.manifest.levels
    loaded = data.draw(st.tuples(*[st.sampled_from(levels)] * 4))
    answered = data.draw(st.sampled_from(levels))
    snapshot = Pager(version.manifest, version.read, loaded).snapshot
    lowered = Pager(version.manifest, version.read, tuple(min(level, answered) for level in loaded)).snapshot
    for name in version.codes:
        weight = Dequantizer().weight(snapshot.parts(name), highest_level=answered).clone()
        plain = Dequantizer().weight(lowered.parts(name), highest_level=levels[-1])
        np.testing.assert_array_equal(weight.numpy(), plain.numpy())
    for name in snapshot.floats:
        value = snapshot.float_value(name, answered)
        np.testing.assert_array_equal(value, lowered.float_value(name, levels[-1]))


def test_a_block_with_a_higher_base_neither_reads_nor_changes_below_it() -> None:
    version = small_version(bases=(8, 6, 4, 4))
    pager = Pager(version.manifest, version.read, (4, 4, 4, 4))
    assert pager.levels == (8, 6, 4, 4)
    assert pager.snapshot.level == 4
    version.reads.clear()
    before = pager.snapshot
    report = pager.set_levels((6, 4, 6, 8))
    assert version.reads == [version.manifest.blocks[2].blobs[1].digest]
    assert (report.blocks, pager.levels) == (1, (8, 6, 6, 4))
    assert report.paged_in_bytes == version.manifest.blocks[2].blobs[1].size_bytes
    assert all(now is then for now, then in zip(pager.snapshot.blocks[:2], before.blocks, strict=False))
    assert pager.snapshot.level == 6


@pytest.mark.parametrize("index", [0, 1, 2])
def test_codes_that_the_manifest_does_not_name_are_refused_at_load(index: int) -> None:
    version = small_version()
    block = version.manifest.blocks[0]
    digests = [*block.digests]
    digests[index] = hashlib.sha256(b"other").hexdigest()
    wrong = replace(block, digests=tuple(digests))
    manifest = replace(version.manifest, blocks=(wrong, *version.manifest.blocks[1:]))
    with pytest.raises(IntegrityError, match="is not what the manifest names"):
        Pager(manifest, version.read, ((4, 6, 8)[index], 8, 8, 4))


def test_a_blob_in_the_place_of_another_is_refused() -> None:
    version = small_version()
    block = version.manifest.blocks[1]
    swapped = replace(block, floats=("ghost",))
    manifest = replace(
        version.manifest, blocks=(version.manifest.blocks[0], swapped, *version.manifest.blocks[2:])
    )
    with pytest.raises(IntegrityError, match=r"hold|form|size|sections"):
        Pager(manifest, version.read, (4, 4, 4, 4))


FLOAT = np.arange(5, dtype=np.float32)


@pytest.mark.parametrize("index", [0, 1, 2])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"a_mean": FLOAT.astype(np.float64)}, "is float"),
        ({"a_mean": FLOAT[:4]}, r"\[4\]"),
        ({"a_mean": FLOAT.reshape(1, 5)}, r"\[1, 5\]"),
        ({"a_mean": None}, "disagree on 'a_mean'"),
        ({"ghost": FLOAT}, "disagree on 'ghost'"),
    ],
)
def test_floats_that_are_not_alike_at_each_level_are_refused_and_nothing_is_lost(
    index: int, changes: dict[str, NDArray[Any] | None], message: str
) -> None:
    version = small_version(with_level_floats=True)
    block = version.manifest.blocks[0]
    ref = block.blobs[index]
    shape = shape_of(block, version.manifest.levels, index)
    content = decode(version.blobs[ref.digest], ref, shape)
    floats = {key: value for key, value in {**content.floats, **changes}.items() if value is not None}
    data, other = encode(replace(content, floats=floats), replace(shape, floats=tuple(floats)))
    version.blobs[other.digest] = data
    wrong = replace(block, blobs=(*block.blobs[:index], other, *block.blobs[index + 1 :]))
    manifest = replace(version.manifest, blocks=(wrong, *version.manifest.blocks[1:]))

    with pytest.raises(IntegrityError, match=message):
        Pager(manifest, version.read, (8, 8, 8, 4))
    if index == 0:
        return
    below = manifest.levels[index - 1]
    pager = Pager(manifest, version.read, (below, 8, 8, 4))
    before = state_of(pager.snapshot)
    with pytest.raises(IntegrityError, match=message):
        pager.set_levels((8, 8, 8, 4))
    assert state_of(pager.snapshot) == before
    assert_weights(version, pager.snapshot)


@pytest.mark.parametrize("levels", [(4, 4, 4), (4, 4, 4, 5), ()])
def test_levels_that_the_version_does_not_have_are_a_programming_error(levels: tuple[int, ...]) -> None:
    version = small_version()
    with pytest.raises(ValueError, match="4 blocks need levels of"):
        Pager(version.manifest, version.read, levels)
