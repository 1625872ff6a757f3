"""The state machine with several models at once; ``World`` minds the budget in every step."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.residency.policy import Want, joint_targets, lowest_level, total_bytes
from device_agent.store.records import Goal
from device_agent.update.allowance import Allowance, Limit, TransferHold
from device_agent.update.machine import next_step
from device_agent.update.memory_plan import shares
from device_agent.update.steps import Activate, Drop, FetchBlobs, Hold, Page, Share, Withheld
from tests.support.fleet import TestVersion, make_version
from tests.support.machine_world import World

NET = [make_version(1), make_version(2, changed=1)]
SPEECH = [make_version(1, model="speech", seed=7, mixed=True), make_version(2, model="speech", seed=7)]
VISION = [make_version(1, model="vision", seed=9, scale=2)]
VERSIONS = [*NET, *SPEECH, *VISION]
PLENTY_BYTES = 1 << 20

budgets = st.integers(0, 16_000)
goal_sets = st.lists(
    st.tuples(st.sampled_from(VERSIONS), st.sampled_from([0, 4, 6, 8])),
    min_size=1,
    max_size=3,
    unique_by=lambda wanted: wanted[0].manifest.model,
)


def goals(generation: int, *wanted: tuple[TestVersion, int]) -> list[Goal]:
    return [Goal(generation, version.release, level, allow_older=True) for version, level in wanted]


def settled(world: World) -> None:
    """Exactly what is wanted runs, as high as policy and budget say, and the shares are what is left."""
    wants = {goal.release.model: goal for goal in world.record.goals}
    assert list(wants) == [model for model, _ in world.situation().in_order()]
    for model, goal in wants.items():
        assert world.running[model].installed.release == goal.release
    manifests = {model: world.running[model].manifest for model in wants}
    targets = joint_targets(
        [Want(manifests[model], goal.max_level) for model, goal in wants.items()], world.budget_bytes
    )
    by_model = dict(zip(wants, targets, strict=True))
    assert {model: running.levels for model, running in world.running.items()} == by_model
    told = {model: running.memory_bytes for model, running in world.running.items()}
    assert told == shares(manifests, by_model, world.budget_bytes)


@settings(max_examples=120, deadline=None)
@given(goal_sets, budgets, st.lists(st.tuples(goal_sets, budgets), max_size=4))
def test_whatever_is_wanted_next_it_comes_to_run_and_nothing_else(
    first: list[tuple[TestVersion, int]],
    budget_bytes: int,
    later: list[tuple[list[tuple[TestVersion, int]], int]],
) -> None:
    world = World(VERSIONS, goals(1, *first), budget_bytes, set())
    world.play()
    settled(world)
    for generation, (wanted, next_budget) in enumerate(later, 2):
        world.want(*goals(generation, *wanted))
        world.budget_bytes = next_budget
        world.play()
        settled(world)
    assert isinstance(next_step(world.situation()), Hold)


@settings(max_examples=120, deadline=None)
@given(
    goal_sets,
    goal_sets,
    budgets,
    st.sets(st.sampled_from([version.release.manifest_digest for version in VERSIONS]), max_size=3),
)
def test_what_fails_touches_no_other_model(
    first: list[tuple[TestVersion, int]],
    second: list[tuple[TestVersion, int]],
    budget_bytes: int,
    failing: set[str],
) -> None:
    world = World(VERSIONS, goals(1, *first), budget_bytes, set())
    world.play()
    before = {model: running.installed.release for model, running in world.running.items()}
    runs = {release.manifest_digest for release in before.values()}
    world.failing = failing - runs
    world.want(*goals(2, *second))
    world.play()
    wanted = {version.release.model: version.release for version, _ in second}
    good = {
        model: release for model, release in wanted.items() if release.manifest_digest not in world.failing
    }
    bad = {model: before[model] for model in wanted if model not in good and model in before}
    expected = {**good, **bad} or before
    assert {model: running.installed.release for model, running in world.running.items()} == expected
    assert {slot.model for slot in world.record.slots if slot.failed} == set(wanted) - set(good)
    assert isinstance(world.steps[-1], Hold)


@settings(max_examples=80, deadline=None)
@given(goal_sets, st.permutations(range(3)), budgets, budgets)
def test_less_memory_takes_effect_before_anything_is_fetched(
    wanted: list[tuple[TestVersion, int]], order: list[int], budget_bytes: int, less_bytes: int
) -> None:
    ordered = [wanted[index] for index in order if index < len(wanted)]
    world = World(VERSIONS, goals(1, *ordered), budget_bytes, set())
    world.play()
    world.budget_bytes = less_bytes
    world.steps.clear()
    world.play()
    assert not any(isinstance(step, FetchBlobs) for step in world.steps) or less_bytes > budget_bytes
    assert world.taken_bytes() <= max(less_bytes, world.bases_bytes())


def test_one_model_goes_down_before_another_goes_up() -> None:
    budget_bytes = NET[0].bytes_at(8) + SPEECH[1].bytes_at(4)
    world = World(VERSIONS, goals(1, (NET[0], 8), (SPEECH[1], 4)), budget_bytes, set())
    world.play()
    world.want(*goals(2, (NET[0], 4), (SPEECH[1], 8)))
    world.blobs |= SPEECH[1].device_blobs
    world.steps.clear()
    world.play()
    pages = [step for step in world.steps if isinstance(step, Page)]
    assert [step.model for step in pages] == ["net", "speech"]
    settled(world)


def test_every_base_comes_before_any_shard_of_a_model_that_runs() -> None:
    world = World(VERSIONS, goals(1, (NET[0], 0), (SPEECH[0], 0)), PLENTY_BYTES, set())
    world.play()
    fetches = [step for step in world.steps if isinstance(step, FetchBlobs)]
    assert [(step.release.model, step.update) for step in fetches][:2] == [("net", True), ("speech", True)]
    assert all(not step.update for step in fetches[2:])


def test_a_model_that_is_not_wanted_any_more_goes_at_once_and_comes_back_from_the_disk() -> None:
    both = goals(1, (NET[0], 0), (SPEECH[0], 0))
    world = World(VERSIONS, both, PLENTY_BYTES, set())
    world.play()
    world.want(*goals(2, (NET[0], 0)))
    world.steps.clear()
    world.play()
    assert world.steps[0] == Drop("speech")
    assert list(world.running) == ["net"]
    world.want(*goals(3, (NET[0], 0), (SPEECH[0], 0)))
    world.steps.clear()
    world.play()
    assert not any(isinstance(step, FetchBlobs) for step in world.steps)
    assert set(world.running) == {"net", "speech"}


def test_a_model_answers_until_the_one_in_its_place_does_and_makes_room_for_it() -> None:
    budget_bytes = SPEECH[1].bytes_at(8)
    world = World(VERSIONS, goals(1, (NET[0], 0)), budget_bytes, set())
    world.play()
    world.want(*goals(2, (SPEECH[1], 0)))
    world.steps.clear()
    world.play()
    activated = next(index for index, step in enumerate(world.steps) if isinstance(step, Activate))
    assert world.steps[activated + 1] == Drop("net")
    step = world.steps[activated]
    assert isinstance(step, Activate)
    assert step.room == (("net", NET[0].manifest.base_levels()),)
    settled(world)


def test_where_room_is_short_for_one_model_the_others_go_on() -> None:
    world = World(VERSIONS, goals(1, (NET[0], 0), (SPEECH[0], 0)), PLENTY_BYTES, set())
    situation = replace(world.situation(), short=frozenset({"net"}))
    step = next_step(situation)
    assert getattr(step, "release", None) == SPEECH[0].release
    assert isinstance(next_step(replace(situation, short=frozenset({"net", "speech"}))), Hold)


def test_what_is_held_back_for_one_model_keeps_no_other_from_going_on() -> None:
    world = World(VERSIONS, goals(1, (NET[0], 0)), PLENTY_BYTES, set())
    world.play()
    world.allowance = Allowance(shard_hold=TransferHold(Limit.METERED, "told to"))
    # A better version of what runs needs its shards, a model that is new its base alone.
    world.want(*goals(2, (NET[1], 0), (SPEECH[0], 0)))
    world.play()
    assert isinstance(world.steps[-1], Withheld)
    assert set(world.running) == {"net", "speech"}
    assert world.running["net"].installed.release == NET[0].release
    assert world.running["speech"].levels == SPEECH[0].manifest.base_levels()


def test_shares_add_up_to_the_budget_and_never_to_more() -> None:
    world = World(VERSIONS, goals(1, (NET[0], 4), (SPEECH[0], 4)), PLENTY_BYTES, set())
    world.play()
    told = [running.memory_bytes for running in world.running.values()]
    assert PLENTY_BYTES - len(told) < sum(told) <= PLENTY_BYTES
    left = [
        running.memory_bytes - total_bytes(running.manifest, running.levels)
        for running in world.running.values()
    ]
    assert max(left) == min(left)
    world.budget_bytes //= 2
    world.steps.clear()
    world.play()
    assert [type(step) for step in world.steps] == [Share, Share, Hold]


def test_memory_goes_to_the_model_that_is_asked_for() -> None:
    wanted = goals(1, (NET[0], 0), (SPEECH[1], 0))
    budget_bytes = max(NET[0].bytes_at(6) + SPEECH[1].bytes_at(4), NET[0].bytes_at(4) + SPEECH[1].bytes_at(6))
    world = World(VERSIONS, wanted, budget_bytes, set())
    for asked, other in (("net", "speech"), ("speech", "net")):
        world.demand = {asked: 1.0, other: 0.1}
        world.play()
        levels = {
            model: lowest_level(running.manifest, running.levels) for model, running in world.running.items()
        }
        assert levels == {asked: 6, other: 4}


@settings(max_examples=60, deadline=None)
@given(goal_sets, budgets)
def test_a_board_that_allows_bases_alone_lifts_nothing_that_comes_in_or_runs(
    wanted: list[tuple[TestVersion, int]], budget_bytes: int
) -> None:
    world = World(VERSIONS, goals(1, *wanted), budget_bytes, set())
    world.max_level = 1
    world.play()
    for model, running in world.running.items():
        assert running.levels == running.manifest.base_levels(), model
    for step in world.steps:
        if isinstance(step, Activate):
            assert step.levels == step.manifest.base_levels()
    world.max_level = 0
    world.play()
    settled(world)
    world.max_level = 1
    world.play()
    assert all(running.levels == running.manifest.base_levels() for running in world.running.values())
