"""Forms of codes: bytes for those that are named, planes for the others, an executor's own in their place."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.manifest import TensorPart
from device_agent.residency.codes import ByteCodes, Codes
from device_agent.residency.groups import block_groups
from device_agent.residency.pager import Pager
from device_agent.residency.resident import ResidentBlock, Snapshot
from tests.support.blocks import random_version, small_version
from tests.support.residency import assert_weights, forms_of, state_of

NAMES = ("a", "b", "c")
LEVELS = st.tuples(*[st.sampled_from((4, 6, 8))] * 4)


@dataclass(frozen=True)
class Reversed:
    """An executor's own order: the codes back to front, signed."""

    level: int
    values: NDArray[np.int8]

    @property
    def count(self) -> int:
        return self.values.size

    @property
    def size_bytes(self) -> int:
        return self.values.nbytes + 3

    def unsigned(self) -> NDArray[np.uint8]:
        return (self.values[::-1].astype(np.int16) + (1 << (self.level - 1))).astype(np.uint8)


class Executor:
    """Takes over what comes in bytes, and notes what it was given."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, ...]] = []

    def prepare(self, snapshot: Snapshot, changed: Collection[int]) -> Snapshot:
        self.calls.append(tuple(changed))
        blocks = {at: _taken(snapshot.blocks[at]) for at in changed}
        names = {part.part.name for at in changed for part in blocks[at].parts}
        prepared = {**snapshot.prepared, **dict.fromkeys(names, self.calls[-1])}
        return replace(snapshot.with_blocks(blocks), prepared=prepared)


def _taken(block: ResidentBlock) -> ResidentBlock:
    return replace(block, parts=tuple(replace(part, codes=_own(part.codes)) for part in block.parts))


def _own(codes: Codes) -> Codes:
    if not isinstance(codes, ByteCodes):
        return codes
    signed = (codes.values.astype(np.int16) - (1 << (codes.level - 1))).astype(np.int8)
    return Reversed(codes.level, signed[::-1].copy())


@settings(deadline=None, max_examples=60)
@given(
    carry_bits=st.integers(0, 2),
    start=LEVELS,
    first=st.sets(st.sampled_from(NAMES)),
    changes=st.lists(st.one_of(LEVELS, st.sets(st.sampled_from(NAMES))), min_size=1, max_size=4),
    executes=st.booleans(),
)
def test_any_order_of_changes_ends_where_a_fresh_load_does(
    carry_bits: int,
    start: tuple[int, ...],
    first: set[str],
    changes: list[tuple[int, ...] | set[str]],
    executes: bool,  # noqa: FBT001
) -> None:
    version = small_version(carry_bits=carry_bits, with_level_floats=True)
    prepare = Executor().prepare if executes else None
    pager = Pager(version.manifest, version.read, start, unpacked=first, prepare=prepare)
    names, levels = first, start
    for change in changes:
        before = pager.snapshot
        kept, forms = state_of(before), forms_of(before)
        if isinstance(change, set):
            pager.set_unpacked(change)
            names = change
            assert state_of(pager.snapshot) == kept
        else:
            pager.set_levels(change)
            levels = change
            assert forms_of(pager.snapshot) == forms
        assert state_of(before) == kept
        assert forms_of(pager.snapshot) == {name: {name in names} for name in NAMES}
        assert_weights(version, pager.snapshot)
    fresh = Pager(version.manifest, version.read, levels, unpacked=names, prepare=prepare).snapshot
    assert state_of(fresh) == state_of(pager.snapshot)
    assert fresh.size_bytes == pager.snapshot.size_bytes


def test_a_byte_a_weight_is_what_bytes_take() -> None:
    version = small_version()
    packed = Pager(version.manifest, version.read, (4, 4, 4, 4)).snapshot
    held = Pager(version.manifest, version.read, (4, 4, 4, 4), unpacked=NAMES).snapshot
    assert held.size_bytes - packed.size_bytes == 8 * 27 // 2 + (7 * 5) // 2 + 4 * 11 // 2 + (5 * 11) // 2


@pytest.mark.parametrize("level", [4, 6, 8])
@pytest.mark.parametrize("unpacked", [(), ("words",)])
def test_what_is_beside_the_codes_takes_a_twentieth_at_most(level: int, unpacked: tuple[str, ...]) -> None:
    # As short as rows of real models are: 384 weights, an embedding of MiniLM's.
    version = random_version((4, 6, 8), [([TensorPart("words", (2000, 384), 0, 2000)], {})])
    held = Pager(version.manifest, version.read, (level,), unpacked=unpacked).snapshot
    bits = 8 if unpacked else level
    assert 2000 * 384 * bits / 8 < held.size_bytes <= 2000 * 384 * bits / 8 * 1.05


def test_an_executor_sees_each_unit_once_and_only_what_is_loaded() -> None:
    version, executor = small_version(), Executor()
    lengths: list[int] = []

    def prepare(snapshot: Snapshot, changed: Collection[int]) -> Snapshot:
        lengths.append(len(snapshot.blocks))
        return executor.prepare(snapshot, changed)

    pager = Pager(version.manifest, version.read, (4, 4, 4, 4), unpacked=NAMES, prepare=prepare)
    assert (executor.calls, lengths) == ([(0,), (1, 2), (3,)], [1, 3, 4])
    assert pager.snapshot.prepared == {"a": (0,), "b": (0,), "c": (1, 2)}

    executor.calls.clear()
    pager.set_levels((4, 8, 8, 8))
    assert executor.calls == [(1, 2)]
    assert pager.snapshot.prepared == {"a": (0,), "b": (0,), "c": (1, 2)}

    executor.calls.clear()
    pager.set_unpacked(("a",))
    pager.set_levels((4, 6, 6, 8))
    assert executor.calls == [(0,), (1, 2), (1,), (2,)]


def test_what_an_executor_holds_counts_as_it_says() -> None:
    version = small_version()
    plain = Pager(version.manifest, version.read, (6, 6, 6, 4), unpacked=("a",)).snapshot
    taken = Pager(
        version.manifest, version.read, (6, 6, 6, 4), unpacked=("a",), prepare=Executor().prepare
    ).snapshot
    assert taken.size_bytes == plain.size_bytes + 3


@pytest.mark.parametrize(("count", "expected"), [(0, []), (1, [(0,)]), (4, [(0,), (1, 2), (3,)])])
def test_blocks_that_share_a_tensor_are_one_group(count: int, expected: list[tuple[int, ...]]) -> None:
    blocks = small_version().manifest.blocks[:count]
    assert [tuple(group) for group in block_groups(blocks)] == expected


def test_blocks_between_those_that_share_a_tensor_are_of_their_group() -> None:
    a, c0, c1, floats = small_version().manifest.blocks
    assert [tuple(group) for group in block_groups([c0, a, c1, floats, a])] == [(0, 1, 2, 3, 4)]
    assert [tuple(group) for group in block_groups([floats, c0, a, c1, floats])] == [(0,), (1, 2, 3), (4,)]
