"""Byte counts: cumulative, so lost, repeated and reordered reports change nothing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from common.errors import CapacityError
from server.registry.records import HourRecord, ReachedRecord, TransferRecord
from server.registry.repository import Registry
from tests.support.factories import make_version


@pytest.fixture
def board(registry: Registry) -> Registry:
    registry.add_version("digits", make_version("digits"))
    registry.add_version("speech", make_version("speech"))
    registry.enrol("board-1", "key", "", "", 1)
    return registry


def total(
    payload_bytes: int, *, model: str = "digits", version: int = 1, kind: str = "base"
) -> TransferRecord:
    return TransferRecord(model, version, kind, 4, payload_bytes, 1, "board-1", "ledger")


def test_totals_and_levels_come_back(board: Registry) -> None:
    totals = [total(10 << 40), total(7, kind="shard"), total(5, model="speech")]
    levels = [ReachedRecord("digits", 1, level, "board-1", "ledger") for level in (4, 8)]
    assert board.record_ledger("board-1", "ledger", totals, levels, 5) is True
    assert board.transfers() == totals
    assert board.transfers("speech") == [totals[2]]
    assert board.reached() == board.reached("digits") == levels
    assert board.reached("speech") == []


def test_counts_only_rise_whatever_order_reports_come_in(board: Registry) -> None:
    for payload_bytes in (100, 300, 200, 300):
        board.record_ledger("board-1", "ledger", [total(payload_bytes)], [], 5)
    assert board.transfers() == [total(300)]


def test_a_report_without_some_rows_takes_nothing_away(board: Registry) -> None:
    board.record_ledger("board-1", "ledger", [total(5), total(9)], [ReachedRecord("digits", 1, 4)], 5)
    board.record_ledger("board-1", "ledger", [], [], 6)
    assert board.transfers() == [total(9)]
    assert len(board.reached()) == 1


def test_a_new_ledger_counts_beside_the_old_one(board: Registry) -> None:
    for ledger_id in ("first", "second"):
        board.record_ledger("board-1", ledger_id, [total(5)], [ReachedRecord("digits", 1, 4)], 5)
    assert [item.ledger_id for item in board.transfers()] == ["first", "second"]
    assert [item.ledger_id for item in board.reached()] == ["first", "second"]


def test_versions_that_never_were_are_left_out(board: Registry) -> None:
    levels = [ReachedRecord("digits", 9, 4), ReachedRecord("nothing", 1, 4)]
    board.record_ledger("board-1", "ledger", [total(5, version=9), total(5, model="nothing")], levels, 5)
    assert board.transfers() == []
    assert board.reached() == []


def test_counts_outlive_the_version_and_the_device(board: Registry) -> None:
    board.record_ledger("board-1", "ledger", [total(5)], [], 5)
    board.delete_version("digits", 1)
    board.forget_device("board-1")
    assert board.transfers() == [total(5)]
    board.enrol("board-1", "key", "", "", 1)
    board.record_ledger("board-1", "ledger", [total(6)], [], 5)
    assert board.transfers() == [total(6)]


def test_ledgers_without_end_are_refused(board: Registry) -> None:
    totals = [total(1)]
    for number in range(64):
        board.record_ledger("board-1", f"ledger-{number}", totals, [], 5)
    with pytest.raises(CapacityError):
        board.record_ledger("board-1", "one-more", totals, [], 5)
    board.record_ledger("board-1", "ledger-7", [total(2)], [], 5)


HOUR = 3_600_000
DAY = 24 * HOUR


def test_bytes_over_time_are_what_each_report_added(board: Registry) -> None:
    for now_ms, payload_bytes in [
        (5, 100),
        (HOUR - 1, 150),
        (HOUR, 150),
        (2 * HOUR, 120),
        (3 * HOUR + 7, 400),
    ]:
        board.record_ledger("board-1", "ledger", [total(payload_bytes)], [], now_ms)
    assert board.moved_hours() == [HourRecord(0, "base", 150), HourRecord(3 * HOUR, "base", 250)]


def test_bytes_over_time_are_told_by_kind_and_model(board: Registry) -> None:
    totals = [total(1), total(20, kind="overhead"), total(300, kind="delta"), total(4000, model="speech")]
    board.record_ledger("board-1", "ledger", totals, [], HOUR)
    assert board.moved_hours("digits") == [
        HourRecord(HOUR, "base", 1),
        HourRecord(HOUR, "delta", 300),
        HourRecord(HOUR, "overhead", 20),
    ]
    assert board.moved_hours()[0] == HourRecord(HOUR, "base", 4001)
    assert board.moved_hours("nothing") == []


def test_a_new_ledger_and_another_device_add_to_the_same_hour(board: Registry) -> None:
    board.enrol("board-2", "key", "", "", 1)
    for device_id, ledger_id in [("board-1", "first"), ("board-1", "second"), ("board-2", "third")]:
        board.record_ledger(device_id, ledger_id, [total(5)], [], HOUR + 5)
    assert board.moved_hours() == [HourRecord(HOUR, "base", 15)]


def test_strangers_and_versions_that_never_were_add_nothing(board: Registry) -> None:
    board.record_ledger("stranger", "ledger", [total(5)], [], 5)
    board.record_ledger("board-1", "ledger", [total(5, version=9)], [], 5)
    assert board.moved_hours() == []


def test_hours_of_more_than_a_year_ago_are_kept_by_the_day(board: Registry) -> None:
    payload_bytes = 0
    for now_ms in [*range(0, 2 * DAY, 6 * HOUR), 300 * DAY + 5 * HOUR, 368 * DAY + HOUR]:
        payload_bytes += 10
        board.record_ledger(
            "board-1", "ledger", [total(payload_bytes), total(payload_bytes, kind="shard")], [], now_ms
        )
    base = [hour for hour in board.moved_hours() if hour.kind == "base"]
    assert base == [
        HourRecord(0, "base", 40),
        HourRecord(DAY, "base", 40),
        HourRecord(300 * DAY + 5 * HOUR, "base", 10),
        HourRecord(368 * DAY + HOUR, "base", 10),
    ]
    assert sum(hour.moved_bytes for hour in board.moved_hours()) == 2 * payload_bytes


def test_absurd_counts_fill_an_hour_and_break_nothing(board: Registry) -> None:
    for number in range(20):
        board.record_ledger("board-1", f"ledger-{number}", [total(1 << 50)], [], 5)
    board.record_ledger("board-1", "honest", [total(7, kind="shard")], [], 5)
    assert board.moved_hours() == [HourRecord(0, "base", 1 << 53), HourRecord(0, "shard", 7)]


def test_reports_at_once_add_up(board: Registry) -> None:
    devices = [f"board-{number}" for number in range(2, 10)]
    for device_id in devices:
        board.enrol(device_id, "key", "", "", 1)

    def report(device_id: str) -> None:
        for payload_bytes in (5, 5, 9):
            totals = [total(payload_bytes), total(payload_bytes, kind="overhead")]
            board.record_ledger(device_id, "ledger", totals, [], HOUR)

    with ThreadPoolExecutor(len(devices)) as pool:
        list(pool.map(report, [*devices, *devices]))
    expected = 9 * len(devices)
    assert board.moved_hours() == [HourRecord(HOUR, "base", expected), HourRecord(HOUR, "overhead", expected)]
