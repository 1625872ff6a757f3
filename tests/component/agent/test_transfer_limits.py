"""Limits of transfer: each stops a download at the byte, says why, and nothing is lost or moved twice."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from nestfleet.v1 import control_pb2

from common.topics import Topic
from common.transfer_limits import MeteredRule
from device_agent.store.state_file import read_record
from device_agent.update.metered import Metered
from tests.support.faults.wrong_clock import WrongClock, utc_ms
from tests.support.fleet import CHUNK_BYTES, Board, MemoryServer, RunningAgent, make_version
from tests.support.waiting import until

ONE = make_version(1)
TWO = make_version(2, changed=1)
ALL_BYTES = ONE.wire(8) + ONE.metadata


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "store", MemoryServer([ONE, TWO]), clock=WrongClock("2026-11-25 12:00"))


def clock(board: Board) -> WrongClock:
    assert isinstance(board.clock, WrongClock)
    return board.clock


def counted(running: RunningAgent, board: Board) -> bool:
    """The month's count is what the server handed over."""
    return running.agent.status().month_bytes == board.server.sent.total() == sum(running.ledger().values())


def chunk_bytes_on_disk(board: Board) -> int:
    """The largest piece in which bytes came, as a start would read it."""
    traffic = read_record(board.folder / "state.json").traffic
    return traffic.chunk_bytes if traffic else 0


async def reported_hold(board: Board, limit: str) -> control_pb2.DeviceState:
    """The state that tells the server of the hold."""
    await until(lambda: board.control.states[-1].hold.limit == limit)
    return board.control.states[-1]


async def test_a_bandwidth_that_is_raised_holds_at_once_for_a_download_that_waits(board: Board) -> None:
    board.settings = replace(board.settings, download_limit_bytes_per_second=20)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: board.server.sent.total() > ONE.metadata)
        assert board.server.sent.total() < ONE.metadata + 500, "the rest would take minutes"
        faster = control_pb2.TransferLimits(bandwidth_bytes_per_second=1 << 30)
        board.limit(0, 1, faster)
        await until(lambda: running.runs(1, 8))
        assert running.agent.status().transfer_limits.bandwidth_bytes_per_second == 1 << 30
        assert board.server.sent.total() == ALL_BYTES


async def test_a_bandwidth_that_is_lowered_slows_a_download_that_runs(board: Board) -> None:
    board.server.gate.clear()
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: board.server.streams)
        board.limit(0, 1, control_pb2.TransferLimits(bandwidth_bytes_per_second=1024))
        await until(lambda: running.agent.status().transfer_limits.bandwidth_bytes_per_second == 1024)
        board.server.gate.set()
        await until(lambda: running.agent.status().level == 4)
        assert not running.runs(1, 8), "what is left takes two seconds"
        await until(lambda: running.runs(1, 8))


async def test_a_monthly_budget_stops_in_mid_blob_and_a_larger_one_goes_on_at_the_byte(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    budget = ONE.metadata + 500
    board.settings = replace(board.settings, monthly_budget_bytes=budget)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.held_by() == "monthly_budget")
        assert budget - CHUNK_BYTES < board.server.sent.total() <= budget
        await until(lambda: counted(running, board))
        assert running.agent.status().phase == "waiting"
        state = await reported_hold(board, "monthly_budget")
        assert (state.month_bytes, state.transfer_limits.monthly_bytes) == (board.server.sent.total(), budget)
        assert state.hold.until_unix_ms == utc_ms("2026-12-01 00:00")
        assert "nestfleet limits" in state.hold.detail
        moved = board.server.sent.total()
    async with board.agent() as running:  # a restart changes nothing
        await until(lambda: running.held_by() == "monthly_budget")
        assert board.server.sent.total() == moved
        assert running.agent.keeper.models() == {}
        board.limit(0, 1, control_pb2.TransferLimits(monthly_bytes=ALL_BYTES))
        await until(lambda: running.runs(1, 8))
        assert running.held_by() == ""
        assert board.server.sent.total() == ALL_BYTES
        assert counted(running, board)
        assert any(offset > 0 for _, offset in board.server.streams), "it stopped within a blob"
    held = [item for item in caplog.messages if item.startswith("Transfers are held back")]
    assert len(held) == 2, "once for each start"


async def test_a_hold_that_is_told_leaves_on_disk_how_large_a_chunk_is(board: Board) -> None:
    board.settings = replace(board.settings, monthly_budget_bytes=ONE.metadata + 500)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.held_by() == "monthly_budget")
        assert chunk_bytes_on_disk(board) == CHUNK_BYTES, (
            "a start at any moment from now on keeps to the budget"
        )


async def test_an_end_in_mid_transfer_leaves_on_disk_how_large_a_chunk_is(board: Board) -> None:
    board.settings = replace(board.settings, download_limit_bytes_per_second=20)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.agent.status().month_bytes > ONE.metadata)
    assert chunk_bytes_on_disk(board) == CHUNK_BYTES


async def test_the_next_month_has_a_budget_of_its_own(board: Board) -> None:
    budget = ONE.metadata + 100
    board.settings = replace(board.settings, monthly_budget_bytes=budget)
    board.assign(ONE)
    async with board.agent() as running:
        moved = [0]
        for month in ("2026-12", "2027-01", "2027-02", "2027-03"):
            await until(lambda: running.held_by() == "monthly_budget" or running.runs(1, 8))
            moved.append(board.server.sent.total())
            if running.runs(1, 8):
                break
            clock(board).set(f"{month}-01 00:00")
            await until(lambda: board.server.sent.total() > moved[-1])
        assert len(moved) > 2
        assert all(after - before <= budget for before, after in pairwise(moved))
        assert moved[-1] == ALL_BYTES


async def test_over_a_metered_link_only_bases_come_and_shards_when_it_is_not_any_more(board: Board) -> None:
    file = board.folder.parent / "metered"
    file.write_text("yes\n")
    board.settings = replace(board.settings, metered_file=file, metered_rule=MeteredRule.BASE_ONLY)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.held_by() == "metered")
        status = running.agent.status()
        assert (status.level, status.metered, status.phase) == (4, True, "waiting")
        assert board.server.sent.total() == ONE.wire(4) + ONE.metadata
        assert "only bases" in (await reported_hold(board, "metered")).hold.detail
        board.assign(TWO)  # no lower than what runs: its base will do
        await until(lambda: running.agent.status().proven == TWO.release)
        await until(lambda: running.held_by() == "metered")
        file.write_text("no")
        await until(lambda: running.runs(2, 8))
        assert running.held_by() == ""
        assert not running.agent.status().metered


async def test_an_update_over_a_metered_link_lowers_no_level(board: Board) -> None:
    file = board.folder.parent / "metered"
    board.settings = replace(board.settings, metered_file=file, metered_rule=MeteredRule.BASE_ONLY)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        file.write_text("yes")
        running.agent.read_again()
        board.assign(TWO)
        await until(lambda: running.held_by() == "metered")
        status = running.agent.status()
        assert (status.proven, status.level) == (ONE.release, 8)
        assert running.ledger()["update"] == TWO.wire(4, without=ONE) < TWO.wire(8, without=ONE)
        board.limit(0, 1, control_pb2.TransferLimits(metered=control_pb2.METERED_RULE_ALL))
        await until(lambda: running.runs(2, 8))
        assert running.ledger()["retransmitted"] == 0


async def test_nothing_over_a_metered_link_stops_a_download_and_no_paging(board: Board) -> None:
    file = board.folder.parent / "metered"
    board.settings = replace(board.settings, metered_file=file, metered_rule=MeteredRule.NOTHING)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.server.gate.clear()
        board.assign(TWO)
        await until(lambda: running.agent.status().phase == "fetching" and board.server.streams[-1][1] == 0)
        file.write_text("yes")
        await until(lambda: running.held_by() == "metered")
        moved = board.server.sent.total()
        board.server.gate.set()
        board.limit(ONE.bytes_at(4), 1)
        await until(lambda: running.agent.status().level == 4)
        assert "net" in running.agent.keeper.models()
        assert board.server.sent.total() == moved
        assert Topic.STATE in board.control.retained
        file.unlink()
        board.limit(0, 2)
        await until(lambda: running.runs(2, 8))


async def test_quiet_hours_hold_bulk_back_until_they_end(board: Board) -> None:
    board.settings = replace(board.settings, quiet_hours="22:00-06:00")
    clock(board).set("2026-11-25 23:30")
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.held_by() == "quiet_hours")
        assert board.server.streams == []
        assert running.store.manifest(ONE.release) is not None, "a manifest is no bulk"
        state = await reported_hold(board, "quiet_hours")
        assert state.hold.until_unix_ms == utc_ms("2026-11-26 06:00")
        clock(board).set("2026-11-26 06:00")
        await until(lambda: running.runs(1, 8))


async def test_quiet_hours_that_begin_stop_a_download_at_the_byte(board: Board) -> None:
    board.settings = replace(board.settings, quiet_hours="22:00-06:00", download_limit_bytes_per_second=1000)
    clock(board).set("2026-11-25 21:59")
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: board.server.sent.total() > ONE.metadata + 2 * CHUNK_BYTES)
        clock(board).set("2026-11-25 22:00")
        await until(lambda: running.held_by() == "quiet_hours")
        assert board.server.sent.total() < ALL_BYTES
        board.limit(0, 1, control_pb2.TransferLimits(quiet_hours="00:00-00:00"))
        await until(lambda: running.runs(1, 8))
        assert board.server.sent.total() == ALL_BYTES


async def test_the_operators_limits_survive_a_restart_and_an_older_message(board: Board) -> None:
    board.limit(0, 5, control_pb2.TransferLimits(monthly_bytes=1))
    async with board.agent() as running:
        await until(lambda: running.store.state.record.transfer_limits.monthly_bytes == 1)
        board.limit(0, 4, control_pb2.TransferLimits(monthly_bytes=1 << 40))
        assert running.agent.status().transfer_limits.monthly_bytes == 1
    board.control.goals.clear()
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.held_by() == "monthly_budget")
        assert board.server.streams == []


async def test_the_status_for_people_names_the_hold(board: Board, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    board.settings = replace(board.settings, metered=Metered.YES, metered_rule=MeteredRule.NOTHING)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.held_by() == "metered")
        tree = running.agent.status_tree()
        assert tree["hold"]["limit"] == "metered"
        assert tree["metered"] is True
        assert tree["transfer_limits"]["metered"] == "nothing"
