"""The rules from sensors to limits."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.transfer_limits import MeteredRule
from device_agent.residency.policy.rules import BASE_ONLY, UNLIMITED_BYTES, Allowed, Thresholds, allowed
from device_agent.sensors.readings import NAMES, NOTHING, Readings

SIZES = st.none() | st.integers(0, 1 << 40)
PERCENT = st.none() | st.floats(0, 100)
SWITCHES = st.none() | st.booleans()
READINGS = st.builds(
    Readings,
    memory_limit_bytes=SIZES,
    memory_available_bytes=SIZES,
    process_bytes=SIZES,
    weights_bytes=SIZES,
    pressure_some_percent=PERCENT,
    pressure_full_percent=PERCENT,
    disk_free_bytes=SIZES,
    cpu_celsius=st.none() | st.floats(-40, 150),
    throttled=SWITCHES,
    battery_fraction=st.none() | st.floats(0, 1),
    on_mains=SWITCHES,
    metered=SWITCHES,
)
THRESHOLDS = st.builds(Thresholds, metered_rule=st.sampled_from(MeteredRule), battery_low=st.floats(0.1, 1))
AT = Thresholds(reserve_bytes=384, spare_bytes=32, disk_reserve_bytes=32)


def no_more_than(one: Allowed, other: Allowed) -> bool:
    return (
        one.memory_bytes <= other.memory_bytes
        and one.disk_bytes <= other.disk_bytes
        and (one.max_level == BASE_ONLY or not other.max_level)
        and one.lift <= other.lift
        and one.fetch <= other.fetch
    )


@given(READINGS, THRESHOLDS, st.sampled_from(NAMES))
def test_no_reading_ever_gives_more_than_its_absence(readings: Readings, at: Thresholds, name: str) -> None:
    # But for two: what weights take counts as available, and mains makes a charge harmless.
    absent: dict[str, Any] = {name: None}
    if name not in {"weights_bytes", "on_mains"}:
        assert no_more_than(allowed(readings, at), allowed(replace(readings, **absent), at))


@given(READINGS, THRESHOLDS, st.floats(0, 1))
def test_what_is_easily_had_is_never_more_than_what_is_allowed(
    readings: Readings, at: Thresholds, margin: float
) -> None:
    assert no_more_than(allowed(readings, at.stricter(margin)), allowed(readings, at))


@given(READINGS, THRESHOLDS, st.sampled_from(["memory_limit_bytes", "memory_available_bytes"]), SIZES)
def test_the_budget_is_monotone_in_memory(
    readings: Readings, at: Thresholds, name: str, size_bytes: int | None
) -> None:
    one, other = readings, replace(readings, **{name: size_bytes})  # type: ignore[arg-type]
    first, second = (getattr(item, name) for item in (one, other))
    poor, rich = (one, other) if (first or 0) <= (second or 0) else (other, one)
    if None not in {first, second}:
        assert allowed(poor, at).memory_bytes <= allowed(rich, at).memory_bytes


def test_without_sensors_nothing_is_limited() -> None:
    assert allowed(NOTHING, AT) == Allowed()


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        (Readings(memory_limit_bytes=400), Allowed(memory_bytes=16)),
        (Readings(memory_limit_bytes=512, memory_available_bytes=200), Allowed(memory_bytes=128)),
        (Readings(process_bytes=1, weights_bytes=1, on_mains=True, metered=True), Allowed()),
        (Readings(pressure_some_percent=9.9, pressure_full_percent=4.9, cpu_celsius=79.9), Allowed()),
        (Readings(battery_fraction=0.01, on_mains=True), Allowed()),
        (Readings(battery_fraction=0.2), Allowed()),
        (Readings(disk_free_bytes=33), Allowed(disk_bytes=1)),
        (Readings(disk_free_bytes=32), Allowed(disk_bytes=0, fetch=False)),
        (Readings(disk_free_bytes=2), Allowed(disk_bytes=-30, fetch=False)),
        (
            Readings(memory_limit_bytes=512, memory_available_bytes=40, weights_bytes=50),
            Allowed(memory_bytes=58),
        ),
        (
            Readings(memory_limit_bytes=484, pressure_some_percent=10.0),
            Allowed(memory_bytes=75, lift=False),
        ),
        (
            Readings(memory_limit_bytes=484, pressure_some_percent=90.0, pressure_full_percent=5.0),
            Allowed(memory_bytes=50, lift=False),
        ),
        (Readings(cpu_celsius=80.0), Allowed(lift=False, fetch=False)),
        (Readings(throttled=True), Allowed(lift=False, fetch=False)),
        (Readings(battery_fraction=0.19), Allowed(lift=False, fetch=False)),
        (Readings(battery_fraction=0.09), Allowed(lift=False, fetch=False, max_level=BASE_ONLY)),
    ],
)
def test_the_table(readings: Readings, expected: Allowed) -> None:
    found = allowed(readings, AT)
    assert replace(found, why=()) == expected
    limited = not expected.lift or not expected.fetch or readings.weights_bytes == 50
    assert bool(found.why) == limited, "whoever limits says why"


def test_a_metered_link_has_shards_where_its_rule_says_so() -> None:
    at = replace(AT, metered_rule=MeteredRule.BASE_ONLY)
    assert not allowed(Readings(metered=True), at).fetch
    assert allowed(Readings(metered=False), at).fetch


@pytest.mark.parametrize("size_bytes", [0, 384])
def test_a_budget_of_nothing_is_nothing_and_says_why(size_bytes: int) -> None:
    found = allowed(Readings(memory_limit_bytes=size_bytes), AT)
    assert found.memory_bytes == 0
    assert "reserve" in found.why[0]


def test_no_limit_of_memory_at_all_is_far_beyond_every_model() -> None:
    assert allowed(NOTHING, AT).memory_bytes == UNLIMITED_BYTES
