"""Whatever a clock does, bytes are counted once, and a month has one budget."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from device_agent.store.records import Traffic
from device_agent.update.month import MAX_MONTHS, begun, counted, month_of, next_month_unix_ms
from tests.support.faults.wrong_clock import DAY_MS, utc_ms

NOW_MS = utc_ms("2026-11-25 12:00")
moments = st.integers(0, utc_ms("2099-12-31 23:59"))


@given(moments)
def test_the_next_month_begins_where_this_one_ends(moment: int) -> None:
    edge = next_month_unix_ms(moment)
    assert moment < edge <= moment + 31 * DAY_MS
    assert month_of(edge) == month_of(moment) + 1 == month_of(edge - 1) + 1


def play(moves: list[tuple[int, int]]) -> list[Traffic]:
    """Looks at a ledger that grows, at moments of a clock."""
    total, traffic = 100, begun("a", 100, NOW_MS)
    seen = [traffic]
    for moment, grown in moves:
        total += grown
        traffic = counted(traffic, "a", total, moment)
        seen.append(traffic)
    return seen


@given(st.lists(st.tuples(moments, st.integers(0, 1000)), max_size=40))
def test_looking_twice_changes_nothing_and_the_shown_month_is_last(moves: list[tuple[int, int]]) -> None:
    for (moment, _), traffic in zip(moves, play(moves)[1:], strict=True):
        assert counted(traffic, "a", traffic.ledger_bytes, moment) == traffic
        assert traffic.months[-1].month == month_of(moment)
        labels = [item.month for item in traffic.months]
        assert len(set(labels)) == len(labels) <= MAX_MONTHS


@given(st.lists(st.tuples(moments, st.integers(0, 1000)), max_size=40))
def test_only_going_forward_to_a_month_not_remembered_begins_at_zero(moves: list[tuple[int, int]]) -> None:
    for before, after in pairwise(play(moves)):
        grown = after.ledger_bytes - before.ledger_bytes
        count, known = after.months[-1], {item.month: item.count_bytes for item in before.months}
        last = before.months[-1]
        if count.month == last.month:
            assert count.count_bytes == last.count_bytes + grown
        elif count.month in known:
            assert count.count_bytes == known[count.month]
        elif count.month < last.month:
            assert count.count_bytes == last.count_bytes + grown
        else:
            assert count.count_bytes == 0


@given(
    st.lists(st.tuples(st.sampled_from([NOW_MS, NOW_MS - 365 * DAY_MS, 0]), st.integers(0, 90)), max_size=60)
)
def test_a_clock_that_jumps_to_and_fro_gives_no_bytes_beyond_a_budget_for_each_month(
    moves: list[tuple[int, int]],
) -> None:
    budget = 500
    total, traffic, moved = 0, begun("a", 0, NOW_MS), 0
    for moment, wanted in moves:
        traffic = counted(traffic, "a", total, moment)
        granted = min(wanted, max(0, budget - traffic.months[-1].count_bytes))
        total, moved = total + granted, moved + granted
    assert moved <= 3 * budget


def test_a_clock_that_was_a_year_ahead_costs_nothing_a_year_later() -> None:
    traffic = counted(begun("a", 0, NOW_MS), "a", 400, NOW_MS)
    ahead = NOW_MS + 365 * DAY_MS
    traffic = counted(traffic, "a", 400, ahead)
    traffic = counted(traffic, "a", 450, ahead)
    traffic = counted(traffic, "a", 450, NOW_MS)
    assert traffic.months[-1].count_bytes == 400
    moment = NOW_MS
    for _ in range(12):
        moment = next_month_unix_ms(moment)
        traffic = counted(traffic, "a", traffic.ledger_bytes, moment)
        assert traffic.months[-1].count_bytes == 0
        traffic = counted(traffic, "a", traffic.ledger_bytes + 500, moment)
    assert month_of(moment) == month_of(ahead)


def test_all_of_a_new_ledger_counts_and_a_ledger_that_lost_its_end_counts_again() -> None:
    traffic = counted(begun("a", 0, NOW_MS), "a", 400, NOW_MS)
    assert counted(traffic, "b", 50, NOW_MS).months[-1].count_bytes == 450
    shorter = counted(traffic, "a", 300, NOW_MS)
    assert shorter.months[-1].count_bytes == 400
    assert counted(shorter, "a", 400, NOW_MS).months[-1].count_bytes == 500
