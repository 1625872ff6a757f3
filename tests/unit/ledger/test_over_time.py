"""The course of bytes over time, and where labels of the picture go."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.ledger.over_time import HOUR_MS, Course, course
from server.ledger.savings import Kind, Savings
from server.ledger.time_panel import spread
from server.registry.records import HourRecord

ROW = Savings(base_bytes=100, overhead_bytes=7)


def test_bytes_rise_within_their_hour_and_rest_between() -> None:
    hours = [
        HourRecord(0, "base", 60),
        HourRecord(5 * HOUR_MS, "base", 40),
        HourRecord(5 * HOUR_MS, "overhead", 7),
    ]
    assert course(ROW, hours, 5 * HOUR_MS + 1000) == Course(
        (0, HOUR_MS, 5 * HOUR_MS, 5 * HOUR_MS + 1000),
        {Kind.BASE: (0, 60, 60, 100), Kind.OVERHEAD: (0, 0, 0, 7)},
    )


def test_what_no_hour_has_was_there_before() -> None:
    assert course(ROW, [HourRecord(0, "base", 30)], HOUR_MS).moved_bytes == {
        Kind.BASE: (70, 100),
        Kind.OVERHEAD: (7, 7),
    }


def test_without_hours_there_is_no_course() -> None:
    assert course(ROW, [], 5).times_ms == ()


def test_a_clock_behind_the_servers_still_gives_a_course() -> None:
    times = course(ROW, [HourRecord(HOUR_MS, "base", 100)], 0).times_ms
    assert times == (HOUR_MS, HOUR_MS + 1)


@given(st.dictionaries(st.tuples(st.integers(0, 50), st.sampled_from(list(Kind))), st.integers(1, 1 << 40)))
def test_every_course_rises_to_what_was_moved(added: dict[tuple[int, Kind], int]) -> None:
    sums = {f"{kind}_bytes": 0 for kind in Kind}
    for (_, kind), size_bytes in added.items():
        sums[f"{kind}_bytes"] += size_bytes
    hours = [HourRecord(hour * HOUR_MS, kind, size_bytes) for (hour, kind), size_bytes in added.items()]
    found = course(Savings(**sums), hours, 60 * HOUR_MS)  # type: ignore[arg-type]
    assert list(found.times_ms) == sorted(found.times_ms)
    assert {f"{kind}_bytes": sizes[-1] for kind, sizes in found.moved_bytes.items()} == {
        name: size_bytes for name, size_bytes in sums.items() if size_bytes
    }
    for sizes in found.moved_bytes.values():
        assert sizes[0] == 0
        assert list(sizes) == sorted(sizes)
        assert len(sizes) == len(found.times_ms)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_labels_keep_their_distance_and_order_below_the_top(wanted: list[float]) -> None:
    placed = spread(sorted(wanted), 0.1, 1.0)
    assert max(placed) <= 1.0
    assert all(
        second - first == pytest.approx(0.1) or second - first > 0.1 for first, second in pairwise(placed)
    )


def test_labels_with_room_stay_where_they_are() -> None:
    assert spread([0.1, 0.5, 0.9], 0.1, 1.0) == [0.1, 0.5, 0.9]
