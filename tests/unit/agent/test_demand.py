from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.update.demand import LEAST_SHARE, Demand
from device_agent.update.demand_watch import DemandWatch

MODELS = ("net", "speech", "vision")
MINUTE = 60.0
counts = st.dictionaries(st.sampled_from(MODELS), st.integers(0, 10_000))


class Time:
    """A clock that a test turns."""

    seconds = 0.0

    def unix_ms(self) -> int:
        return 0

    def monotonic_seconds(self) -> float:
        return self.seconds


def test_as_long_as_nobody_asks_all_count_the_same() -> None:
    demand = Demand()
    assert not demand.look({}, MINUTE, MODELS)
    assert [demand.of(model) for model in MODELS] == [1.0, 1.0, 1.0]
    assert demand.shares == {}


def test_shares_are_those_of_requests_and_an_idle_model_keeps_a_say() -> None:
    demand = Demand()
    assert demand.look({"net": 300, "speech": 100}, MINUTE, MODELS)
    assert demand.shares == pytest.approx({"net": 0.75, "speech": 0.25, "vision": LEAST_SHARE})
    assert demand.of("new") == LEAST_SHARE


def test_a_burst_changes_nothing_and_a_habit_does() -> None:
    demand = Demand()
    for _ in range(30):
        demand.look({"net": 100, "speech": 100}, MINUTE, ["net", "speech"])
    assert not demand.look({"net": 100, "speech": 300}, MINUTE, ["net", "speech"])
    assert demand.of("speech") == 0.5
    changes = [demand.look({"speech": 200}, MINUTE, ["net", "speech"]) for _ in range(120)]
    assert demand.of("net") == pytest.approx(LEAST_SHARE, abs=0.1)
    assert 1 <= sum(changes) <= 3
    assert not any(changes[:5])


def test_a_model_that_goes_is_forgotten() -> None:
    demand = Demand()
    demand.look({"net": 300, "speech": 100}, MINUTE, ["net", "speech"])
    demand.look({"net": 300}, MINUTE, ["net"])
    assert set(demand.shares) == {"net"}
    demand.look({}, MINUTE, [])
    assert demand.of("net") == 1.0


@given(st.lists(st.tuples(counts, st.floats(0.001, 1e6), st.sets(st.sampled_from(MODELS))), max_size=20))
def test_whatever_comes_shares_are_sound_and_move_by_steps(
    looks: list[tuple[dict[str, int], float, set[str]]],
) -> None:
    demand = Demand()
    for answered, seconds, present in looks:
        before = {model: demand.of(model) for model in present if model in demand.shares}
        changed = demand.look(answered, seconds, present)
        assert set(demand.shares) <= present
        for share in demand.shares.values():
            assert LEAST_SHARE <= share <= 1.0
            assert math.isfinite(share)
        after = {model: demand.of(model) for model in before}
        if before and not changed:
            assert after == before
        elif set(before) == present:
            assert any(
                after[model] >= 2 * before[model] or after[model] <= before[model] / 2 for model in present
            ) or not (before or present)


def test_the_watch_counts_since_its_last_look_and_tells_of_changes() -> None:
    time, demand, changes = Time(), Demand(), list[float]()
    watch = DemandWatch(
        demand, time, present=lambda: ["net", "speech"], on_change=lambda: changes.append(time.seconds)
    )
    for _ in range(40):
        watch.answered("net")
    watch.look()
    assert changes == [], "no time has passed"
    time.seconds = 60.0
    watch.look()
    assert changes == [60.0]
    assert demand.shares == {"net": 1.0, "speech": LEAST_SHARE}
    for _ in range(4000):
        watch.answered("speech")
    time.seconds = 120.0
    watch.look()
    assert changes == [60.0, 120.0]
    assert demand.of("speech") > 0.9
