"""Replays: the policy in simulated time, over made-up days."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import InvalidInputError
from common.manifest import from_json, to_json
from common.transfer_limits import MeteredRule
from device_agent.replay.made_up import made_up_version
from device_agent.replay.simulation import Moment, simulate
from device_agent.replay.solar_day import STEP_SECONDS, solar_day
from device_agent.replay.summary import format_summary, summarize, to_tree
from device_agent.replay.trace import Look
from device_agent.residency.board_limits import Rules
from device_agent.residency.policy import total_bytes
from device_agent.residency.policy.footprint import full_bytes
from device_agent.residency.policy.hysteresis import Pace
from device_agent.residency.policy.rules import Thresholds
from device_agent.sensors.readings import Readings

MODEL = made_up_version(6 << 20)
BASE_BYTES = total_bytes(MODEL, MODEL.base_levels())
FULL_BYTES = full_bytes(MODEL)
RULES = Rules(Thresholds(reserve_bytes=0, spare_bytes=0), Pace())
LINK = 1 << 20


def play(looks: list[Look], rules: Rules = RULES, rate: int = LINK) -> list[Moment]:
    return list(simulate(looks, MODEL, rules, download_bytes_per_second=rate))


def limits(*sizes: int, step: float = 10.0) -> list[Look]:
    return [
        Look(index * step, Readings(memory_available_bytes=size_bytes))
        for index, size_bytes in enumerate(sizes)
    ]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.floats(0, 600), st.integers(0, 2 * FULL_BYTES), st.floats(0, 1)), min_size=1, max_size=60
    )
)
def test_no_trace_takes_a_board_over_its_budget_or_makes_it_switch_too_often(
    steps: list[tuple[float, int, float]],
) -> None:
    looks, at_seconds = [], 0.0
    for seconds, size_bytes, charge in steps:
        at_seconds += seconds
        looks.append(Look(at_seconds, Readings(memory_available_bytes=size_bytes, battery_fraction=charge)))
    moments = play(looks)
    summary = summarize(moments, BASE_BYTES)
    assert summary.seconds_over_budget == 0
    assert all(item.weights_bytes <= max(item.budget_bytes, BASE_BYTES) for item in moments)
    assert summary.most_switches_in_an_hour <= RULES.pace.switches_per_hour
    assert sum(summary.seconds_by_level.values()) == pytest.approx(summary.seconds)
    for before, after in pairwise(moments):
        assert before.fetched_bytes <= after.fetched_bytes
        assert before.paged_bytes <= after.paged_bytes


def test_shards_come_at_the_links_rate_and_are_paged_in_as_they_come() -> None:
    moments = play(limits(*[4 * FULL_BYTES] * 100, step=1.0), rate=LINK // 4)
    assert (moments[0].level, moments[-1].level) == (4, 8)
    shards = sum(ref.size_bytes for block in MODEL.blocks for ref in block.blobs[1:])
    assert moments[-1].fetched_bytes == moments[-1].paged_bytes == shards
    for moment in moments:
        assert moment.fetched_bytes <= moment.at_seconds * LINK // 4
    assert summarize(moments, BASE_BYTES).switches == 0, "what came is no switch of the policy's"


def test_going_down_and_up_again_moves_no_byte_over_the_link() -> None:
    plenty, little = 4 * FULL_BYTES, BASE_BYTES + 1000
    moments = play(limits(*[plenty] * 10, *[little] * 2, *[plenty] * 10))
    down, end = moments[10], moments[-1]
    assert (moments[9].level, down.level, end.level) == (8, 4, 8)
    assert end.fetched_bytes == moments[9].fetched_bytes
    assert end.paged_bytes == 2 * moments[9].paged_bytes
    assert summarize(moments, BASE_BYTES).switches == 2


@pytest.mark.parametrize("size_bytes", [0, BASE_BYTES - 1])
def test_a_model_that_does_not_fit_even_as_a_base_runs_at_it_and_that_is_said(size_bytes: int) -> None:
    summary = summarize(play(limits(*[size_bytes] * 10)), BASE_BYTES)
    assert summary.seconds_by_level == {4: 90.0}
    assert (summary.seconds_over_budget, summary.seconds_base_over_budget) == (0, 90.0)
    assert "base alone  over budget" in format_summary(summary)


def test_a_trace_of_one_look() -> None:
    summary = summarize(play(limits(FULL_BYTES)), BASE_BYTES)
    assert (summary.looks, summary.seconds, summary.mean_bits) == (1, 0, 4.0)


def test_a_solar_day_is_the_same_for_the_same_seed_and_has_a_night_and_a_noon() -> None:
    day = list(solar_day(1))
    assert day == list(solar_day(1)) != list(solar_day(2))
    assert len(day) == 86_400 // STEP_SECONDS
    charges = [look.readings.battery_fraction or 0 for look in day]
    assert min(charges) < 0.10
    assert max(charges) > 0.90
    assert {look.readings.metered for look in day} == {True, False}


@pytest.mark.parametrize("seed", range(3))
def test_a_solar_day_ends_well(seed: int) -> None:
    model = made_up_version(110 << 20)
    rules = Rules(Thresholds(), Pace())
    moments = list(simulate(solar_day(seed), model, rules, download_bytes_per_second=LINK))
    base_bytes = total_bytes(model, model.base_levels())
    summary = summarize(moments, base_bytes)
    assert summary.seconds_over_budget == 0
    assert 2 <= summary.most_switches_in_an_hour <= rules.pace.switches_per_hour
    assert set(summary.seconds_by_level) >= {4, 8}
    assert summary.seconds_base_only > 3600
    assert to_tree(summary)["seconds_by_level"].keys() >= {"4", "8"}
    for moment in moments:
        charge = moment.readings.battery_fraction
        assert moment.level == 4 or charge is None or charge >= 0.10


def test_no_shard_comes_over_a_metered_link_where_the_rule_says_so() -> None:
    looks = [
        replace(look, readings=replace(look.readings, metered=True)) for look in limits(*[FULL_BYTES] * 9)
    ]
    from_base = replace(RULES, at=replace(RULES.at, metered_rule=MeteredRule.BASE_ONLY))
    assert play(looks, from_base)[-1].fetched_bytes == 0
    assert play(looks)[-1].fetched_bytes > 0


@pytest.mark.parametrize("size_bytes", [1, 1024, 3_000_000, 40 << 20])
def test_a_made_up_version_is_a_manifest_of_about_its_size(size_bytes: int) -> None:
    version = made_up_version(size_bytes)
    assert from_json(to_json(version)) == version
    weights = sum(block.weights for block in version.blocks)
    assert weights <= max(size_bytes, 1024)
    assert weights > size_bytes - 1024 * len(version.blocks)


@pytest.mark.parametrize("size_bytes", [0, -1, 1 << 40])
def test_a_size_that_no_model_has(size_bytes: int) -> None:
    with pytest.raises(InvalidInputError, match="cannot be made up"):
        made_up_version(size_bytes)
