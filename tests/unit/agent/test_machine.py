"""The state machine, played against a world that does what each step says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.residency.policy import lowest_level, target_levels, total_bytes
from device_agent.store.ledger import Kind
from device_agent.store.records import Failure, Goal, Installed, Slot
from device_agent.update.allowance import EVERYTHING, Allowance, Limit, TransferHold
from device_agent.update.fetch_plan import wanted_blobs
from device_agent.update.machine import next_step
from device_agent.update.situation import Running
from device_agent.update.steps import (
    Activate,
    FetchManifest,
    Hold,
    Refuse,
    Withheld,
)
from tests.support.fleet import TestVersion, make_version
from tests.support.machine_world import World

VERSIONS = [
    make_version(1),
    make_version(2, changed=1),
    make_version(3, changed=2),
    make_version(4, mixed=True),
    make_version(5, changed=2, mixed=True),
]
MIXED = VERSIONS[3]
MOST_STEPS = 40
KEY = "ab" * 32
HOLD = TransferHold(Limit.METERED, "told to")
NOTHING = Allowance(hold=HOLD)
BASES_ONLY = Allowance(shard_hold=HOLD)


def world_of(goal: Goal | None, budget_bytes: int, blobs: set[str] | None = None) -> World:
    return World(VERSIONS, (goal,) if goal else (), budget_bytes, blobs or set())


def running_of(world: World) -> Running:
    return world.running["net"]


versions = st.sampled_from(VERSIONS)
budgets = st.integers(0, 6000)
max_levels = st.sampled_from([0, 4, 6, 8])


@settings(max_examples=150, deadline=None)
@given(
    versions,
    budgets,
    max_levels,
    st.sets(st.sampled_from(sorted({digest for version in VERSIONS for digest in version.blobs}))),
    st.lists(st.tuples(versions, budgets, max_levels), max_size=4),
)
def test_from_anywhere_the_goal_is_reached_and_then_nothing_is_left_to_do(
    version: TestVersion,
    budget_bytes: int,
    max_level: int,
    blobs: set[str],
    later: list[tuple[TestVersion, int, int]],
) -> None:
    goal = Goal(1, version.release, max_level, allow_older=True)
    world = world_of(goal, budget_bytes, blobs)
    world.play()
    for next_version, next_budget, next_max in later:
        world.want(Goal(1, next_version.release, next_max, allow_older=True))
        world.budget_bytes = next_budget
        world.play()
    (final,) = world.record.goals
    assert running_of(world).installed.release == final.release
    target = target_levels(
        running_of(world).manifest, budget_bytes=world.budget_bytes, max_level=final.max_level
    )
    assert running_of(world).levels == target


@settings(max_examples=150, deadline=None)
@given(
    versions,
    budgets,
    st.sets(st.sampled_from(sorted({digest for version in VERSIONS for digest in version.blobs}))),
    st.lists(st.tuples(versions, budgets, st.sampled_from([EVERYTHING, BASES_ONLY, NOTHING])), max_size=5),
)
def test_whatever_is_held_back_meanwhile_the_goal_is_reached_when_the_hold_ends(
    version: TestVersion,
    budget_bytes: int,
    blobs: set[str],
    later: list[tuple[TestVersion, int, Allowance]],
) -> None:
    world = world_of(Goal(1, version.release, allow_older=True), budget_bytes, blobs)
    for next_version, next_budget, allowed in later:
        world.play()
        lowest = _lowest(world)
        world.want(Goal(1, next_version.release, allow_older=True))
        world.allowance = allowed
        world.steps.clear()
        world.play()
        if isinstance(world.steps[-1], Withheld):
            assert _lowest(world) >= lowest, "what is held back lowers no level"
        world.budget_bytes = next_budget
    world.allowance = EVERYTHING
    world.play()
    (final,) = world.record.goals
    assert running_of(world).installed.release == final.release
    assert running_of(world).levels == target_levels(
        running_of(world).manifest, budget_bytes=world.budget_bytes
    )
    assert isinstance(next_step(world.situation()), Hold)


def _lowest(world: World) -> int:
    return lowest_level(running_of(world).manifest, running_of(world).levels) if world.running else 0


def test_over_a_metered_link_a_first_version_runs_at_its_base_and_a_manifest_comes_whatever_holds() -> None:
    version = VERSIONS[0]
    world = world_of(Goal(1, version.release), 6000)
    world.allowance = NOTHING
    world.play()
    assert [type(step) for step in world.steps] == [FetchManifest, Withheld]
    world.allowance = BASES_ONLY
    world.play()
    assert world.running
    assert set(running_of(world).levels) == {4}
    assert world.steps[-1] == Withheld(HOLD)
    world.budget_bytes = 1
    assert not isinstance(next_step(world.situation()), Withheld), "nothing is missing any more"


def test_an_older_version_is_refused_and_what_runs_stays() -> None:
    world = world_of(Goal(1, VERSIONS[1].release), 4000)
    world.play()
    world.want(Goal(2, VERSIONS[0].release))
    world.record = replace(world.record, newest_proven={"net": 2})
    world.steps.clear()
    world.play()
    assert [type(step) for step in world.steps] == [Refuse, Hold]
    assert world.running
    assert running_of(world).installed.release == VERSIONS[1].release


def test_what_ran_last_is_fetched_again_when_nothing_is_assigned() -> None:
    world = world_of(None, 4000)
    world.record = replace(world.record, slots=(Slot("net", active=Installed(VERSIONS[0].release)),))
    world.play()
    assert world.running


def test_what_was_given_up_is_not_asked_for_again() -> None:
    version = VERSIONS[0]
    world = world_of(Goal(1, version.release), 4000)
    world.given_up = frozenset(block.blobs[1].digest for block in version.manifest.blocks if block.tensors)
    world.play()
    assert world.running
    assert set(running_of(world).levels) == {4}


def test_a_version_with_nothing_left_to_do_for_a_failed_goal_holds() -> None:
    release = VERSIONS[0].release
    world = world_of(Goal(1, release), 4000)
    failed = replace(world.record.slot("net"), failure=Failure(1, release, "integrity", ""))
    world.record = replace(world.record, slots=(failed,))
    world.play()
    assert world.steps == [Hold()]


@pytest.mark.parametrize("level", [4, 6, 8])
def test_a_plan_takes_each_blob_once_metadata_then_bases_then_shards_by_level(level: int) -> None:
    manifest = VERSIONS[0].manifest
    chosen = [level if block.tensors else 4 for block in manifest.blocks]
    plan = wanted_blobs(manifest, chosen)
    digests = [item.digest for item, _ in plan]
    assert len(digests) == len(set(digests))
    levels = [item.level for item, _ in plan]
    assert levels == sorted(levels)
    assert levels[:2] == [0, 0]
    assert max(levels) == level
    assert sum(ref.size_bytes for item, ref in plan if item.level) == VERSIONS[0].wire(level)


@pytest.mark.parametrize(("level", "shards"), [(4, []), (6, [6]), (8, [6, 8, 8])])
def test_a_plan_takes_a_higher_base_as_a_base_and_no_shard_below_it(level: int, shards: list[int]) -> None:
    manifest = MIXED.manifest
    plan = wanted_blobs(manifest, (level,) * len(manifest.blocks))
    assert plan == wanted_blobs(manifest, manifest.nearest(level))
    items = [item for item, _ in plan]
    bases = [item.digest for item in items if item.kind is Kind.BASE]
    assert bases == [block.blobs[0].digest for block in manifest.blocks]
    assert {item.level for item in items if item.kind is Kind.BASE} == {4}
    assert [item.level for item in items if item.kind is Kind.SHARD] == shards
    assert manifest.fidelity is not None
    assert manifest.fidelity.digest not in {item.digest for item in items}


def test_a_limit_of_levels_holds_for_a_version_with_higher_bases_that_comes_in_beside_another() -> None:
    old = VERSIONS[0]
    full_bytes = total_bytes(old.manifest, old.manifest.nearest(8))
    world = world_of(Goal(1, old.release), full_bytes)
    world.play()
    # Not both at once, so what runs makes room: more than the bases of the other need.
    world.budget_bytes = full_bytes + total_bytes(MIXED.manifest, MIXED.manifest.base_levels()) - 1
    world.want(Goal(2, MIXED.release, max_level=4))
    world.play()
    last = next(step for step in reversed(world.steps) if isinstance(step, Activate))
    assert last.room
    assert last.levels == MIXED.manifest.base_levels() == (6, 8, 4, 4)
    assert world.running
    assert running_of(world).levels == last.levels
