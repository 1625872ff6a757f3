"""The queue: lanes, turns, batches and windows."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import ConfigError
from device_agent.serving.queueing.lanes import ALONE, Lanes, QueueRules, Waiting
from device_agent.serving.refusals import BusyError


def waiting(
    lane: str = "m", *, kind: str | None = "k", rows: int = 1, since: float = 0.0, item: int = 0
) -> Waiting[int]:
    return Waiting(lane, kind, rows, since, item)


def filled(rules: QueueRules, *entries: Waiting[int]) -> Lanes[int]:
    lanes: Lanes[int] = Lanes(rules)
    for entry in entries:
        lanes.put(entry)
    return lanes


def items(batch: list[Waiting[int]]) -> list[int]:
    return [entry.item for entry in batch]


def test_what_fits_together_is_taken_together_in_order() -> None:
    lanes = filled(
        QueueRules(batch_rows=4),
        waiting(item=1, rows=2),
        waiting(item=2, kind="other"),
        waiting(item=3),
        waiting(item=4, rows=2),
        waiting(item=5),
    )
    assert items(lanes.take(0.0)) == [1, 3]
    assert items(lanes.take(0.0)) == [2]
    assert items(lanes.take(0.0)) == [4, 5]
    assert lanes.take(0.0) == []
    assert lanes.due_seconds() is None


def test_what_is_alone_runs_alone() -> None:
    lanes = filled(QueueRules(window_seconds=9), *(waiting(item=i, kind=ALONE) for i in (1, 2)))
    assert items(lanes.take(0.0)) == [1]
    assert items(lanes.take(0.0)) == [2]


def test_a_request_beyond_the_batch_runs_alone_at_once() -> None:
    lanes = filled(QueueRules(batch_rows=4, window_seconds=9), waiting(item=1, rows=9), waiting(item=2))
    assert items(lanes.take(0.0)) == [1]
    assert lanes.take(0.0) == []


def test_a_window_ends_with_time_or_with_a_full_batch() -> None:
    rules = QueueRules(batch_rows=3, window_seconds=1.0)
    lanes = filled(rules, waiting(item=1, since=5.0), waiting(item=2, since=5.9))
    assert lanes.take(5.99) == []
    assert lanes.due_seconds() == 6.0
    assert items(lanes.take(6.0)) == [1, 2]
    for entry in (waiting(item=1), waiting(item=2), waiting(item=3)):
        assert lanes.take(0.5) == []
        lanes.put(entry)
    assert items(lanes.take(0.5)) == [1, 2, 3]
    for entry in (waiting(item=1, rows=2), waiting(item=2, rows=2)):
        lanes.put(entry)
    assert items(lanes.take(0.5)) == [1]  # the second would never fit


def test_a_lane_that_waits_lets_the_next_pass() -> None:
    rules = QueueRules(window_seconds=1.0)
    lanes = filled(rules, waiting("a", item=1, since=5.0), waiting("b", item=2, since=4.0))
    assert items(lanes.take(5.0)) == [2]
    assert lanes.take(5.0) == []
    assert items(lanes.take(6.0)) == [1]


def test_a_window_longer_than_any_wait_is_refused() -> None:
    with pytest.raises(ConfigError, match="batch_window_ms"):
        QueueRules(window_seconds=1.0, longest_seconds=1.0)


def test_lanes_take_turns() -> None:
    lanes = filled(QueueRules(batch_rows=1), *(waiting("a", item=i) for i in range(4)), waiting("b", item=10))
    assert [items(lanes.take(0.0))[0] for _ in range(5)] == [0, 10, 1, 2, 3]


def test_a_full_lane_refuses_and_leaves_others_alone() -> None:
    lanes = filled(QueueRules(length=2), waiting("a"), waiting("a"), waiting("b"))
    with pytest.raises(BusyError, match="2 requests wait for 'a'"):
        lanes.put(waiting("a"))
    lanes.put(waiting("b"))
    assert (lanes.length("a"), lanes.length("b"), lanes.length("c")) == (2, 2, 0)


def test_what_is_removed_or_drained_is_gone() -> None:
    first, second = waiting(item=1), waiting(item=2)
    lanes = filled(QueueRules(), first, second)
    assert lanes.remove(first)
    assert not lanes.remove(first)
    assert not lanes.remove(waiting(item=2))
    assert lanes.drain() == [second]
    assert lanes.take(0.0) == lanes.drain() == []


entries = st.lists(
    st.tuples(st.sampled_from("abc"), st.sampled_from(["k", "l", None]), st.integers(1, 6)), max_size=30
)


@given(entries, st.integers(1, 8))
def test_everything_is_taken_once_in_order_and_within_the_rows(
    asked: list[tuple[str, str | None, int]], batch_rows: int
) -> None:
    lanes: Lanes[int] = Lanes(QueueRules(batch_rows=batch_rows))
    made = [waiting(lane, kind=kind, rows=rows, item=index) for index, (lane, kind, rows) in enumerate(asked)]
    for entry in made:
        lanes.put(entry)
    batches = []
    while batch := lanes.take(0.0):
        batches.append(batch)
        assert len({(entry.lane, entry.kind) for entry in batch}) == 1
        assert len(batch) == 1 or sum(entry.rows for entry in batch) <= batch_rows
        assert len(batch) == 1 or batch[0].kind is not ALONE
    taken = [entry for batch in batches for entry in batch]
    assert Counter(items(taken)) == Counter(range(len(made)))
    for lane in "abc":
        for kind in ("k", "l", None):
            own = [entry.item for entry in taken if (entry.lane, entry.kind) == (lane, kind)]
            assert own == sorted(own)


@given(entries)
def test_no_lane_waits_longer_than_a_turn_of_each_other(asked: list[tuple[str, str | None, int]]) -> None:
    lanes: Lanes[int] = Lanes(QueueRules(batch_rows=2))
    for index, (lane, kind, rows) in enumerate(asked):
        lanes.put(waiting(lane, kind=kind, rows=rows, item=index))
    since = Counter[str]()
    while batch := lanes.take(0.0):
        since[batch[0].lane] = 0
        for lane in "abc":
            if lane != batch[0].lane and lanes.length(lane):
                since[lane] += 1
                assert since[lane] <= 2
