"""Byte counts: cumulative, so lost, repeated and reordered reports change nothing."""

from __future__ import annotations

import pytest

from common.errors import CapacityError
from server.registry.records import ReachedRecord, TransferRecord
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
