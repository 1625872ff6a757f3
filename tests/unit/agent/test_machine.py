"""The state machine, played against a world that does what each step says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.manifest import Manifest
from device_agent.residency.policy import lowest_level, target_levels, total_bytes
from device_agent.store.ledger import Kind
from device_agent.store.records import AgentRecord, Failure, Goal, Installed, Release
from device_agent.update.allowance import EVERYTHING, Allowance, Limit, TransferHold
from device_agent.update.fetch_plan import has_base, missing_blobs, wanted_blobs
from device_agent.update.machine import (
    Activate,
    FetchBlobs,
    FetchManifest,
    Hold,
    Page,
    Refuse,
    Running,
    Situation,
    Step,
    Withheld,
    next_step,
)
from tests.support.fleet import TestVersion, make_version

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


class World:
    """What the steps act on."""

    def __init__(self, goal: Goal | None, budget_bytes: int, blobs: set[str], manifests: set[str]) -> None:
        self.record = AgentRecord("board", KEY, goal=goal, seen_generation=1)
        self.running: Running | None = None
        self.blobs, self.manifests = blobs, manifests
        self.given_up: frozenset[str] = frozenset()
        self.budget_bytes = budget_bytes
        self.allowance = EVERYTHING
        self.steps: list[Step] = []

    def manifest(self, release: Release) -> Manifest | None:
        known = {version.release.manifest_digest: version.manifest for version in VERSIONS}
        return known[release.manifest_digest] if release.manifest_digest in self.manifests else None

    def situation(self) -> Situation:
        return Situation(
            self.record,
            self.running,
            self.manifest,
            self.blobs.__contains__,
            self.given_up,
            self.budget_bytes,
            self.allowance,
        )

    def play(self) -> None:
        for _ in range(MOST_STEPS):
            step = next_step(self.situation())
            self.steps.append(step)
            if isinstance(step, Hold | Withheld):
                return
            self.do(step)
        raise AssertionError(f"no end: {[type(step).__name__ for step in self.steps]}")

    def do(self, step: Step) -> None:
        match step:
            case FetchManifest():
                assert step.release.manifest_digest not in self.manifests
                self.manifests.add(step.release.manifest_digest)
            case FetchBlobs():
                assert self.allowance.hold is None
                if self.allowance.shard_hold is not None:
                    assert step.stage == step.manifest.base_levels()
                missing = missing_blobs(step.manifest, step.stage, self.blobs.__contains__)
                assert missing, "a fetch of nothing"
                assert not {item.digest for item, _ in missing} & self.given_up
                self.blobs |= {item.digest for item, _ in missing}
            case Activate():
                assert has_base(step.manifest, self.blobs.__contains__)
                assert not missing_blobs(step.manifest, step.levels, self.blobs.__contains__)
                self.running = Running(step.installed, step.manifest, step.levels)
                self.record = replace(self.record, active=step.installed)
            case Page():
                assert self.running is not None
                assert step.levels != self.running.levels
                manifest = self.running.manifest
                base_bytes = total_bytes(manifest, manifest.base_levels())
                assert total_bytes(manifest, step.levels) <= max(self.budget_bytes, base_bytes)
                assert not missing_blobs(manifest, step.levels, self.blobs.__contains__)
                self.running = replace(self.running, levels=step.levels)
            case Refuse():
                failure = Failure(step.goal.generation, step.goal.release, "conflict", "older")
                self.record = replace(self.record, failure=failure)
            case Hold() | Withheld():
                pass


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
    world = World(goal, budget_bytes, blobs, set())
    world.play()
    for next_version, next_budget, next_max in later:
        world.record = replace(world.record, goal=Goal(1, next_version.release, next_max, allow_older=True))
        world.budget_bytes = next_budget
        world.play()
    final = world.record.goal
    assert final is not None
    assert world.running is not None
    assert world.running.installed.release == final.release
    target = target_levels(world.running.manifest, budget_bytes=world.budget_bytes, max_level=final.max_level)
    assert world.running.levels == target


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
    world = World(Goal(1, version.release, allow_older=True), budget_bytes, blobs, set())
    for next_version, next_budget, allowed in later:
        world.play()
        lowest = _lowest(world)
        world.record = replace(world.record, goal=Goal(1, next_version.release, allow_older=True))
        world.allowance = allowed
        world.steps.clear()
        world.play()
        if isinstance(world.steps[-1], Withheld):
            assert _lowest(world) >= lowest, "what is held back lowers no level"
        world.budget_bytes = next_budget
    world.allowance = EVERYTHING
    world.play()
    final = world.record.goal
    assert final is not None
    assert world.running is not None
    assert world.running.installed.release == final.release
    assert world.running.levels == target_levels(world.running.manifest, budget_bytes=world.budget_bytes)
    assert isinstance(next_step(world.situation()), Hold)


def _lowest(world: World) -> int:
    return lowest_level(world.running.manifest, world.running.levels) if world.running else 0


def test_over_a_metered_link_a_first_version_runs_at_its_base_and_a_manifest_comes_whatever_holds() -> None:
    version = VERSIONS[0]
    world = World(Goal(1, version.release), 6000, set(), set())
    world.allowance = NOTHING
    world.play()
    assert [type(step) for step in world.steps] == [FetchManifest, Withheld]
    world.allowance = BASES_ONLY
    world.play()
    assert world.running is not None
    assert set(world.running.levels) == {4}
    assert world.steps[-1] == Withheld(HOLD)
    world.budget_bytes = 1
    assert not isinstance(next_step(world.situation()), Withheld), "nothing is missing any more"


def test_an_older_version_is_refused_and_what_runs_stays() -> None:
    world = World(Goal(1, VERSIONS[1].release), 4000, set(), set())
    world.play()
    world.record = replace(
        world.record, goal=Goal(2, VERSIONS[0].release), seen_generation=2, newest_proven={"net": 2}
    )
    world.steps.clear()
    world.play()
    assert [type(step) for step in world.steps] == [Refuse, Hold]
    assert world.running is not None
    assert world.running.installed.release == VERSIONS[1].release


def test_what_ran_last_is_fetched_again_when_nothing_is_assigned() -> None:
    world = World(None, 4000, set(), set())
    world.record = replace(world.record, active=Installed(VERSIONS[0].release))
    world.play()
    assert world.running is not None


def test_what_was_given_up_is_not_asked_for_again() -> None:
    version = VERSIONS[0]
    world = World(Goal(1, version.release), 4000, set(), set())
    world.given_up = frozenset(block.blobs[1].digest for block in version.manifest.blocks if block.tensors)
    world.play()
    assert world.running is not None
    assert set(world.running.levels) == {4}


def test_a_version_with_nothing_left_to_do_for_a_failed_goal_holds() -> None:
    release = VERSIONS[0].release
    world = World(Goal(1, release), 4000, set(), set())
    world.record = replace(world.record, failure=Failure(1, release, "integrity", ""))
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
    world = World(Goal(1, old.release), full_bytes, set(), set())
    world.play()
    # Not both at once, so what runs makes room: more than the bases of the other need.
    world.budget_bytes = full_bytes + total_bytes(MIXED.manifest, MIXED.manifest.base_levels()) - 1
    world.record = replace(world.record, goal=Goal(2, MIXED.release, max_level=4))
    world.play()
    last = next(step for step in reversed(world.steps) if isinstance(step, Activate))
    assert last.make_room
    assert last.levels == MIXED.manifest.base_levels() == (6, 8, 4, 4)
    assert world.running is not None
    assert world.running.levels == last.levels
