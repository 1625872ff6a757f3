"""Hysteresis: the bound on switches under any trace, and what is never refused."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from device_agent.residency.board_limits import Rules
from device_agent.residency.policy import lowest_level, target_levels
from device_agent.residency.policy.hysteresis import Held, Pace, State, settle
from device_agent.residency.policy.rules import BASE_ONLY, Allowed, Thresholds
from device_agent.sensors.readings import Readings
from tests.support.fleet import TestVersion, make_version

HOUR_MS = 3_600_000
SECOND_MS = 1000


@st.composite
def traces(draw: st.DrawFn) -> list[tuple[int, Allowed, Allowed]]:
    """Milliseconds since the look before, what is allowed, and what is easily: no more than that."""
    looks = []
    step = st.sampled_from([0, 1, SECOND_MS, 30 * SECOND_MS, 5 * 60 * SECOND_MS]) | st.integers(0, HOUR_MS)
    for _ in range(draw(st.integers(1, 60))):
        may = Allowed(
            memory_bytes=draw(st.integers(0, 1000)),
            max_level=draw(st.sampled_from([0, 0, 0, BASE_ONLY])),
            lift=draw(st.sampled_from([True, True, True, False])),
            fetch=draw(st.booleans()),
        )
        easily = replace(
            may,
            memory_bytes=min(may.memory_bytes, draw(st.integers(0, 1000))),
            max_level=may.max_level or draw(st.sampled_from([0, 0, BASE_ONLY])),
            lift=may.lift and draw(st.booleans()),
            fetch=may.fetch and draw(st.booleans()),
        )
        looks.append((draw(step), may, easily))
    return looks


PACES = st.builds(
    Pace,
    grow_ms=st.sampled_from([0, SECOND_MS, 30 * SECOND_MS]),
    switches_per_hour=st.sampled_from([4, 6, 12]),
    least_growth=st.sampled_from([0.0, 0.1]),
)
NEEDS = st.sampled_from([0, 300, 1 << 60])


def play(looks: list[tuple[int, Allowed, Allowed]], pace: Pace, need_bytes: int) -> list[tuple[int, Held]]:
    """When, and what was held from then on."""
    state: State | None = None
    now_ms, course = 0, []
    for step_ms, may, easily in looks:
        now_ms += step_ms
        state, held = settle(state, may, easily, now_ms, pace=pace, need_bytes=need_bytes)
        course.append((now_ms, held))
    return course


def switches(course: list[tuple[int, Held]], need_bytes: int) -> list[int]:
    """When what is there for lifts changed."""
    return [
        now_ms
        for (_, before), (now_ms, after) in pairwise(course)
        if before.switchable(need_bytes) != after.switchable(need_bytes)
    ]


def most_in_an_hour(times_ms: list[int]) -> int:
    return max((sum(0 <= later - at <= HOUR_MS for later in times_ms) for at in times_ms), default=0)


@settings(max_examples=150, deadline=None)
@given(traces(), PACES, NEEDS)
def test_no_trace_switches_more_often_in_any_hour_than_the_bound_says(
    looks: list[tuple[int, Allowed, Allowed]], pace: Pace, need_bytes: int
) -> None:
    course = play(looks, pace, need_bytes)
    assert most_in_an_hour(switches(course, need_bytes)) <= pace.switches_per_hour


@settings(max_examples=150, deadline=None)
@given(traces(), PACES, NEEDS)
def test_a_way_down_is_never_refused(
    looks: list[tuple[int, Allowed, Allowed]], pace: Pace, need_bytes: int
) -> None:
    for (_, held), (_, may, _) in zip(play(looks, pace, need_bytes), looks, strict=True):
        assert 0 <= held.memory_bytes <= may.memory_bytes
        assert held.max_level == BASE_ONLY or not may.max_level
        assert may.fetch or not held.fetch


@settings(max_examples=150, deadline=None)
@given(traces(), PACES, NEEDS)
def test_nothing_goes_up_where_lifts_are_not_easy(
    looks: list[tuple[int, Allowed, Allowed]], pace: Pace, need_bytes: int
) -> None:
    course = play(looks, pace, need_bytes)
    for (_, before), (_, after), (_, _, easily) in zip(course, course[1:], looks[1:], strict=False):
        if not easily.lift:
            assert after.switchable(need_bytes) <= before.switchable(need_bytes)


@settings(max_examples=150, deadline=None)
@given(traces(), PACES, st.integers(1, 1000))
def test_calm_for_an_hour_gives_what_is_easily_had(
    looks: list[tuple[int, Allowed, Allowed]], pace: Pace, easily_bytes: int
) -> None:
    calm = Allowed(memory_bytes=1000), Allowed(memory_bytes=easily_bytes)
    held = play([*looks, *((5 * 60 * SECOND_MS, *calm),) * 13], pace, 1 << 60)[-1][1]
    assert held.max_level == 0
    assert held.fetch
    assert held.memory_bytes * (1 + pace.least_growth) >= easily_bytes
    assert held.memory_bytes <= 1000


@cache
def version() -> TestVersion:
    return make_version(1, scale=8)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20_000)), max_size=80), st.sampled_from([4, 12]))
def test_the_level_itself_changes_no_more_often_than_that(
    looks: list[tuple[int, int]], switches_per_hour: int
) -> None:
    """From the sensor to the level, by the rules as the agent has them."""
    rules = Rules(Thresholds(reserve_bytes=0, spare_bytes=0), Pace(switches_per_hour=switches_per_hour))
    state: State | None = None
    levels: tuple[int, ...] = ()
    now_ms, times = 0, []
    for step_seconds, available_bytes in looks:
        now_ms += step_seconds * SECOND_MS
        may, easily = rules.judge(Readings(memory_available_bytes=available_bytes))
        state, held = settle(state, may, easily, now_ms, pace=rules.pace)
        before, levels = (
            levels,
            target_levels(version().manifest, budget_bytes=held.memory_bytes, max_level=held.max_level),
        )
        if before not in {levels, ()}:
            times.append(now_ms)
    assert most_in_an_hour(times) <= switches_per_hour


@given(st.lists(st.floats(-0.04, 0.04), min_size=100, max_size=200), st.integers(1000, 1 << 40))
def test_a_noisy_signal_does_not_flap(noise: list[float], mean_bytes: int) -> None:
    rules = Rules(Thresholds(reserve_bytes=0, spare_bytes=0), Pace())
    looks = [
        (SECOND_MS, *rules.judge(Readings(memory_available_bytes=int(mean_bytes * (1 + part)))))
        for part in noise
    ]
    assert not switches(play(looks, rules.pace, 1 << 60), 1 << 60)


@given(st.lists(st.floats(0.05, 0.249), min_size=2, max_size=300))
def test_a_charge_that_hovers_around_a_threshold_does_not_flap(charges: list[float]) -> None:
    """Five points above the threshold are needed to leave what a charge below it brought."""
    rules = Rules(Thresholds(), Pace())
    plenty = Readings(memory_limit_bytes=1 << 30, on_mains=False)
    looks = [(SECOND_MS, *rules.judge(replace(plenty, battery_fraction=charge))) for charge in charges]
    course = play(looks, rules.pace, 1 << 60)
    assert len(switches(course, 1 << 60)) <= 1, "down to the base, once"
    assert sum(before.fetch != after.fetch for (_, before), (_, after) in pairwise(course)) <= 1


def test_growth_waits_and_takes_no_more_than_was_there_all_the_time() -> None:
    pace = Pace(grow_ms=10 * SECOND_MS)
    low, high, most = (Allowed(memory_bytes=size) for size in (100, 300, 500))
    course = play(
        [(0, low, low), *((SECOND_MS, size, size) for size in [most] * 5 + [high] + [most] * 5)],
        pace,
        1 << 60,
    )
    assert [held.memory_bytes for _, held in course] == [100] * 11 + [300]


def test_beyond_need_memory_follows_without_a_switch_and_the_margin_costs_no_level() -> None:
    may, easily = Allowed(memory_bytes=1000), Allowed(memory_bytes=900)
    tight, tightly = Allowed(memory_bytes=310), Allowed(memory_bytes=280)
    course = play([(0, may, easily), (SECOND_MS, tight, tightly)], Pace(), 300)
    assert [held.memory_bytes for _, held in course] == [900, 300]
    assert not switches(course, 300)


def test_who_flaps_waits_at_the_base_until_there_are_two_tokens_again() -> None:
    pace = Pace(grow_ms=0, switches_per_hour=6)
    low, high = Allowed(memory_bytes=100), Allowed(memory_bytes=500)
    flapping = [(SECOND_MS, size, size) for size in [high, low] * 5]
    later = [(HOUR_MS // 3 - 20 * SECOND_MS, high, high), (30 * SECOND_MS, high, high), (SECOND_MS, low, low)]
    held = [held.switchable(1 << 60) for _, held in play([*flapping, *later], pace, 1 << 60)]
    assert held == [500, 100, 500, 0, *[0] * 6, 0, 0, 0]
    waited = play([*flapping, *((40 * 60 * SECOND_MS, high, high),) * 2], pace, 1 << 60)
    assert waited[-1][1] == Held(500, 0, fetch=True)


def test_a_start_with_little_charge_is_at_the_base() -> None:
    rules = Rules(Thresholds(reserve_bytes=0), Pace())
    may, easily = rules.judge(Readings(memory_limit_bytes=1000, battery_fraction=0.15, on_mains=False))
    _, held = settle(None, may, easily, 0, pace=rules.pace)
    assert held == Held(1000, BASE_ONLY, fetch=False)
    levels = target_levels(version().manifest, budget_bytes=1 << 30, max_level=held.max_level)
    assert lowest_level(version().manifest, levels) == 4
