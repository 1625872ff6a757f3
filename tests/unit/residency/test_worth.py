"""The order of lifts: the most fidelity per byte first, whatever the budget."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.manifest import BlobRef, Block, Manifest, TensorPart
from device_agent.residency.policy import Want, joint_targets, lowest_level, target_levels, total_bytes
from device_agent.residency.policy.targets import memory_lifts
from device_agent.residency.policy.worth import Lift, gains_of, valued

NOTHING = BlobRef("0" * 64, 1, 1, "raw")
LEVELS = (4, 6, 8)
GAINS = st.integers(0, 10**6) | st.just(0)


def block(rows: int, gains: tuple[int, ...], base: int = 4) -> Block:
    own = LEVELS[LEVELS.index(base) :]
    blobs = tuple(BlobRef("1" * 64, rows * 20, rows * 20, "block") for _ in own)
    part = TensorPart("t", (rows, 64), 0, rows)
    return Block((part,), (), blobs, ("0" * 64,) * len(own), gains=gains[: len(own) - 1])


def manifest(*blocks: Block) -> Manifest:
    return Manifest("m", 1, LEVELS, "floor", NOTHING, NOTHING, blocks)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    kinds = st.tuples(st.integers(1, 60), st.tuples(GAINS, GAINS), st.sampled_from(LEVELS))
    measured = draw(st.booleans())
    blocks = [
        block(rows, gains if measured else (), base)
        for rows, gains, base in draw(st.lists(kinds, min_size=1, max_size=6))
    ]
    return manifest(*blocks)


WANTS = st.lists(
    st.builds(Want, manifests(), st.sampled_from([0, 4, 6, 8]), st.floats(0, 100)), min_size=1, max_size=3
)


def taken(wants: list[Want], targets: tuple[tuple[int, ...], ...]) -> int:
    return sum(total_bytes(want.manifest, chosen) for want, chosen in zip(wants, targets, strict=True))


@given(WANTS, st.integers(0, 60_000))
def test_a_joint_budget_holds_unless_the_bases_exceed_it(wants: list[Want], budget_bytes: int) -> None:
    targets = joint_targets(wants, budget_bytes)
    bases = tuple(want.manifest.base_levels() for want in wants)
    assert taken(wants, targets) <= budget_bytes or targets == bases
    for want, base, chosen in zip(wants, bases, targets, strict=True):
        for low, level in zip(base, chosen, strict=True):
            assert low <= level
            assert level == low or not want.max_level or level <= want.max_level


@given(WANTS, st.integers(0, 60_000), st.integers(0, 60_000))
def test_more_of_a_joint_budget_lowers_no_block_of_any_version(
    wants: list[Want], one: int, other: int
) -> None:
    poor, rich = joint_targets(wants, min(one, other)), joint_targets(wants, max(one, other))
    for low, high in zip(poor, rich, strict=True):
        assert all(less <= more for less, more in zip(low, high, strict=True))


@given(WANTS)
def test_an_order_has_the_lower_shard_of_a_block_first_and_never_rises_in_worth(wants: list[Want]) -> None:
    for want in wants:
        by_block: dict[int, list[Lift]] = {}
        for lift in memory_lifts(want):
            by_block.setdefault(lift.block, []).append(lift)
        for lifts in by_block.values():
            for below, above in pairwise(lifts):
                assert below.level == above.low
                assert below.worth >= above.worth


@given(WANTS, st.integers(0, 60_000))
def test_no_single_lift_that_was_left_out_is_worth_more_a_byte_than_one_that_was_taken(
    wants: list[Want], budget_bytes: int
) -> None:
    targets = joint_targets(wants, budget_bytes)
    taken_worths: list[float] = []
    left_worths: list[float] = []
    for want, chosen in zip(wants, targets, strict=True):
        for lift in memory_lifts(want):
            worths = taken_worths if lift.level <= chosen[lift.block] else left_worths
            worths.append(lift.worth * want.demand)
    assert min(taken_worths, default=0) >= max(left_worths, default=0) or not taken_worths


def test_what_matters_goes_all_the_way_up_while_what_does_not_waits() -> None:
    version = manifest(block(10, (5, 1)), block(10, (9000, 4000)))
    step = total_bytes(version, (4, 8)) - total_bytes(version, (4, 4))
    chosen = target_levels(version, budget_bytes=total_bytes(version, (4, 4)) + step)
    assert chosen == (4, 8)
    assert lowest_level(version, chosen) == 4


def test_a_second_shard_that_is_worth_more_pulls_the_first_along() -> None:
    version = manifest(block(10, (1, 9000)), block(10, (100, 1)))
    pulled = total_bytes(version, (8, 4))
    assert target_levels(version, budget_bytes=pulled) == (8, 4)
    assert target_levels(version, budget_bytes=pulled - 1) == (6, 4), "the first of the two does fit"
    assert target_levels(version, budget_bytes=pulled, max_level=6) == (6, 6), "the second is not wanted"


def test_demand_decides_between_equals() -> None:
    one, two = manifest(block(10, (100, 50))), manifest(block(10, (100, 50)))
    budget = taken([Want(one), Want(two)], ((6,), (4,)))
    assert joint_targets([Want(one), Want(two)], budget) == ((6,), (4,))
    assert joint_targets([Want(one), Want(two, demand=2)], budget) == ((4,), (6,))
    assert joint_targets([Want(one, demand=0), Want(two, demand=0)], budget) == ((6,), (4,))


def test_a_version_without_gains_has_its_fair_share_beside_one_with_them() -> None:
    unknown, known = manifest(block(20, ()), block(20, ())), manifest(block(20, (100, 1)))
    budget = taken([Want(unknown), Want(known)], ((6, 4), (4,)))
    assert joint_targets([Want(unknown), Want(known)], budget) == ((6, 4), (4,))
    assert all(sum(gains) > 0 for gains in gains_of(unknown))


@pytest.mark.parametrize("demand", [-1.0, float("nan"), float("inf")])
def test_a_demand_that_is_none(demand: float) -> None:
    with pytest.raises(ValueError, match="demand"):
        Want(manifest(block(1, (1, 1))), demand=demand)


def test_the_hull_of_three_steps() -> None:
    lifts = [Lift(0, 2, 4, 1, 10), Lift(0, 4, 6, 9, 10), Lift(0, 6, 8, 2, 10)]
    assert [lift.worth for lift in valued(lifts)] == [0.5, 0.5, 0.2]
