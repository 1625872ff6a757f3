from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from common.quiet_hours import NO_QUIET_HOURS, QuietHours, parse_quiet_hours

MINUTE_MS = 60_000
DAY_MS = 1440 * MINUTE_MS
minutes = st.integers(0, 1439)
moments = st.integers(-(1 << 40), 1 << 43)


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("moment", "quiet"),
    [
        ("2026-11-25 21:59:59.999", False),
        ("2026-11-25 22:00", True),
        ("2026-11-25 23:59:59.999", True),
        ("2026-11-26 00:00", True),
        ("2026-11-26 05:59:59.999", True),
        ("2026-11-26 06:00", False),
    ],
)
def test_the_edges_of_hours_that_span_midnight(moment: str, *, quiet: bool) -> None:
    assert parse_quiet_hours("22:00-06:00").contains(at(moment)) is quiet


@given(begin=minutes, end=minutes, moment=moments)
def test_a_moment_is_quiet_by_its_minute_of_the_day_alone(begin: int, end: int, moment: int) -> None:
    minute = moment // MINUTE_MS % 1440
    wanted = begin <= minute < end if begin <= end else minute >= begin or minute < end
    assert QuietHours(begin, end).contains(moment) is wanted


@given(begin=minutes, end=minutes, moment=moments)
def test_it_is_quiet_up_to_the_end_and_not_at_it(begin: int, end: int, moment: int) -> None:
    hours = QuietHours(begin, end)
    over = hours.end_after(moment)
    assert moment < over <= moment + DAY_MS
    assert over % DAY_MS == end * MINUTE_MS
    assert not hours.contains(over)
    if hours.contains(moment):
        assert hours.contains(over - 1)
        assert hours.contains((moment + over) // 2), "without a break"


@given(begin=minutes, end=minutes)
def test_what_is_written_is_read(begin: int, end: int) -> None:
    hours = QuietHours(begin, end)
    if begin != end or begin == 0:
        assert parse_quiet_hours(str(hours)) == hours


def test_midnight_to_midnight_is_never() -> None:
    assert not any(parse_quiet_hours(NO_QUIET_HOURS).contains(hour * 3_600_000) for hour in range(24))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "22-6",
        "22:00",
        "22:00-06:00 ",
        "24:00-06:00",
        "22:60-06:00",
        "22:00\u201306:00",
        "\u0662\u0662:00-06:00",
        "2:00-6:00",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="HH:MM-HH:MM in UTC"):
        parse_quiet_hours(text)


def test_equal_ends_are_ambiguous() -> None:
    with pytest.raises(ConfigError, match="all day or never"):
        parse_quiet_hours("06:00-06:00")
