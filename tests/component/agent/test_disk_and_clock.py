"""Disks that fill up or turn read-only, clocks that are wrong: nothing is lost, and a reason is reported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from common.digest import sha256_hex
from device_agent.update.month import next_month_unix_ms
from tests.support.faults.full_disk import NEVER, failing_disk, read_only
from tests.support.faults.wrong_clock import YEAR_MS, WrongClock
from tests.support.fleet import CHUNK_BYTES, Board, MemoryServer, RunningAgent, make_version
from tests.support.waiting import until

ONE = make_version(1)
TWO = make_version(2, changed=1)
STRIDE = 5


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "store", MemoryServer([ONE, TWO]))


async def looked_at(running: RunningAgent, version: int) -> bool:
    """Whether the version runs, looked at again as time does."""
    there = running.runs(version, 8)
    running.look_again()
    return there


def only_whole_blobs(board: Board) -> bool:
    return all(sha256_hex(path.read_bytes()) == path.name for path in (board.folder / "blobs").iterdir())


async def calls_of_an_update(folder: Path) -> int:
    """How many times the disk is changed while an update comes."""
    board = Board(folder, MemoryServer([ONE, TWO]))
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        with failing_disk(NEVER) as disk:
            board.assign(TWO)
            await until(lambda: running.runs(2, 8))
            return disk.counted


@pytest.mark.parametrize("offset", range(STRIDE))
async def test_a_disk_that_is_full_from_any_write_of_a_download_on_loses_nothing(
    tmp_path: Path, offset: int
) -> None:
    calls = await calls_of_an_update(tmp_path / "counted")
    assert calls > 50
    for left in range(offset, calls - 4, STRIDE):  # the last ones tidy up
        board = Board(tmp_path / f"at-{left}", MemoryServer([ONE, TWO]))
        board.assign(ONE)
        async with board.agent() as running:
            await until(lambda at=running: at.runs(1, 8))  # type: ignore[misc]
            with failing_disk(left) as disk:
                board.assign(TWO)
                await until(disk.failing)
                await until(lambda at=running: reported(at, "No space left") or at.runs(2, 8))  # type: ignore[misc]
                assert running.agent.keeper.models(), "what ran goes on"
            await until(lambda at=running: looked_at(at, 2))  # type: ignore[misc]
            assert (running.held_by(), running.fault()) == ("", ""), f"at {left}"
            assert running.ledger()["update"] == TWO.wire(8, without=ONE)
            assert only_whole_blobs(board)
            lost = board.server.sent.total() - sum(running.ledger().values())
            assert 0 <= lost <= len(TWO.frame) + CHUNK_BYTES, f"{lost} bytes were not counted at {left}"


def reported(running: RunningAgent, why: str) -> bool:
    """Whether the operator can read that the disk holds transfers back, and why."""
    hold = running.agent.status().hold
    return hold is not None and hold.limit == "disk" and why in hold.detail


async def test_a_download_without_room_is_held_back_before_its_first_byte(board: Board) -> None:
    board.settings = replace(board.settings, disk_reserve_bytes=1 << 60)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: board.control.states and board.control.states[-1].hold.limit == "disk")
        hold = board.control.states[-1].hold
        assert str(ONE.wire(4) + ONE.metadata - len(ONE.frame)) in hold.detail, "what is needed"
        assert "0 are left" in hold.detail
        assert hold.until_unix_ms == 0
        assert board.server.streams == []
        assert running.fault() == "capacity"


async def test_a_store_that_turns_read_only_serves_on_until_it_can_be_written(
    board: Board,
) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        with read_only(running.store):
            board.assign(TWO)
            await until(lambda: reported(running, "Read-only"))
            assert running.fault() == "capacity"
            board.limit(ONE.bytes_at(4), 1)
            await until(lambda: running.agent.status().level == 4)
            assert running.agent.keeper.models()
            (goal,) = running.store.state.record.goals
            assert goal.release == ONE.release, "the record is as on disk"
        board.limit(0, 2)
        await until(lambda: looked_at(running, 2))
        assert (running.held_by(), running.fault()) == ("", "")
        assert only_whole_blobs(board)
        assert sum(running.ledger().values()) == board.server.sent.total()


async def test_a_store_that_turns_read_only_in_mid_download_loses_nothing(board: Board) -> None:
    board.server.gate.clear()
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: board.server.streams)
        with read_only(running.store):
            board.server.gate.set()
            await until(lambda: reported(running, ""))
        await until(lambda: looked_at(running, 1))
        assert running.held_by() == ""
        assert only_whole_blobs(board)


@pytest.mark.parametrize("years", [-1, 1, -56])
async def test_a_clock_that_is_wrong_by_years_blocks_nothing_and_is_no_new_budget_when_it_is_set(
    board: Board, years: int
) -> None:
    clock = WrongClock("2026-11-25 12:00")
    board.clock = clock
    budget = ONE.metadata + 50
    board.settings = replace(board.settings, monthly_budget_bytes=budget)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: held_until_next_month(running, clock))
        for sign in (1, -1, 1, -1, 1, -1):
            clock.jump(sign * years * YEAR_MS)
            await until(lambda: held_until_next_month(running, clock))
        budgets = 2 if years > 0 else 1  # a month that the clock reached by going forward has one of its own
        moved = board.server.sent.total()
        # The first full chunk ever may go over: nobody knew how large chunks are.
        assert moved <= budgets * budget + CHUNK_BYTES < ONE.wire(8) + ONE.metadata
        clock.set("2026-12-01 00:00")
        await until(lambda: board.server.sent.total() > moved)
    async with board.agent() as running:
        await until(lambda: running.held_by() == "monthly_budget" or running.runs(1, 8))
        assert only_whole_blobs(board)


def held_until_next_month(running: RunningAgent, clock: WrongClock) -> bool:
    hold = running.agent.status().hold
    return hold is not None and hold.until_unix_ms == next_month_unix_ms(clock.shown_ms)


async def test_a_board_without_a_clock_starts_in_1970_and_runs_what_is_assigned(board: Board) -> None:
    board.clock = WrongClock("1970-01-01 00:00")
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.clock.set("2026-11-25 12:00")
        board.assign(TWO)
        await until(lambda: running.runs(2, 8))
        assert running.agent.status().month_bytes == TWO.wire(8, without=ONE) + len(TWO.frame) + (
            TWO.manifest.self_test.size_bytes
        )
