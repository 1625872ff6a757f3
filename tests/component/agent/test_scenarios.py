"""The agent's whole life against a server in memory: fetch, serve, adapt, update, fail, restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import ConflictError
from tests.support.fleet import Board, MemoryServer, make_version
from tests.support.waiting import until

ONE = make_version(1)
TWO = make_version(2, changed=1)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "store", MemoryServer([ONE, TWO]))


async def test_first_version_serves_from_its_base_and_rises_level_by_level(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert [level for _, level in board.runtime.proofs] == [4, 6, 8]
        assert running.store.ledger.reached() == {("net", 1): (4, 6, 8)}
        assert running.ledger() == {
            "base": ONE.wire(4),
            "shard": ONE.wire(8) - ONE.wire(4),
            "update": 0,
            "metadata": ONE.metadata,
            "retransmitted": 0,
            "overhead": 0,
            "delta": 0,
        }
    order = [digest for digest, _ in board.server.streams]
    bases = [block.blobs[0].digest for block in ONE.manifest.blocks]
    assert order[2 : 2 + len(bases)] == bases
    assert len(order) == len(set(order))
    assert board.server.sent.total() == ONE.wire(8) + ONE.metadata


async def test_the_base_answers_while_shards_are_still_away(board: Board) -> None:
    board.server.gone = {block.blobs[1].digest for block in ONE.manifest.blocks[:3]}
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 4))
        assert running.fault() == "not_found"
        assert running.agent.status().phase == "failed"
        board.server.gone = set()
        board.assign(ONE)
        await until(lambda: running.runs(1, 8))
        assert running.fault() == ""


async def test_less_memory_evicts_and_more_pages_in_without_a_byte_on_the_wire(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        moved = board.server.sent.total()
        board.limit(ONE.bytes_at(4), 1)
        await until(lambda: running.runs(1, 4))
        status = running.agent.status()
        assert status.resident_bytes <= ONE.bytes_at(4)
        assert status.blocks == ((4, 3),)
        board.limit(0, 2)
        await until(lambda: running.runs(1, 8))
        assert board.server.sent.total() == moved
        assert running.agent.status().loaded_digest != status.loaded_digest


async def test_a_limit_of_levels_is_kept_and_lifted(board: Board) -> None:
    board.assign(ONE, max_level=6)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 6))
        assert board.server.sent.total() == ONE.wire(6) + ONE.metadata
        board.assign(ONE)
        await until(lambda: running.runs(1, 8))


async def test_an_update_moves_only_what_changed_and_the_old_version_answers_meanwhile(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.server.gate.clear()
        board.assign(TWO)
        await until(lambda: running.agent.status().phase == "fetching")
        proven = running.agent.status().proven
        assert proven is not None
        assert proven.version == 1
        assert "net" in running.agent.keeper.models()
        board.server.gate.set()
        await until(lambda: running.runs(2, 8))
        ledger = running.ledger()
        assert ledger["update"] == TWO.wire(8, without=ONE)
        assert ledger["base"] + ledger["shard"] == ONE.wire(8)
        assert board.runtime.proofs[-1] == (2, 8)
        kept = running.store.blobs.present
        assert kept == set(ONE.blobs) | set(TWO.blobs)


async def test_only_the_active_and_the_previous_version_stay_on_disk(board: Board) -> None:
    three = make_version(3, changed=3)
    board.server.versions.append(three)
    async with board.agent() as running:
        for version in (ONE, TWO, three):
            board.assign(version)
            await until(lambda number=version.manifest.version: running.runs(number, 8))  # type: ignore[misc]
        await until(lambda: running.store.blobs.present == set(TWO.blobs) | set(three.blobs))
        assert running.ledger()["retransmitted"] == 0


@pytest.mark.parametrize("memory", ["plenty", "tight"])
async def test_a_version_that_fails_its_self_test_leaves_the_old_one_running(
    board: Board, memory: str
) -> None:
    board.assign(ONE)
    board.runtime.failing = {(2, 8)} if memory == "plenty" else {(2, 6), (2, 8)}
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        if memory == "tight":
            board.limit(TWO.bytes_at(8), 1)
        board.assign(TWO)
        await until(lambda: running.fault() == "self_test_failed")
        await until(lambda: running.runs(1, 8))
        status = running.agent.status()
        assert (status.phase, status.fault and status.fault.release) == ("failed", TWO.release)
        loads = len(board.runtime.loads)
        board.assign(TWO, generation=board.generation)
        board.limit(TWO.bytes_at(8) + 1, 2)
        await until(lambda: running.agent.status().budget_bytes == TWO.bytes_at(8) + 1)
        assert len(board.runtime.loads) == loads
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert running.fault() == "self_test_failed"
        board.runtime.failing = set()
        moved = board.server.sent.total()
        board.assign(TWO)
        await until(lambda: running.runs(2, 8))
        assert running.fault() == ""
        assert board.server.sent.total() == moved


async def test_two_versions_share_a_budget_that_holds_one(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.limit(TWO.bytes_at(8), 1)
        board.assign(TWO)
        await until(lambda: running.runs(2, 8))
        assert [proof for proof in board.runtime.proofs if proof[0] == 2][-1] == (2, 8)
        first_load = next(levels for number, levels in board.runtime.loads if number == 2)
        assert max(first_load) < 8


async def test_a_first_version_that_fails_at_a_higher_level_stays_below_it(board: Board) -> None:
    board.runtime.failing = {(1, 8)}
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.fault() == "self_test_failed")
        await until(lambda: running.runs(1, 6))
    async with board.agent() as running:
        await until(lambda: running.runs(1, 4))
        assert running.fault() == "self_test_failed"


async def test_a_first_version_that_fails_at_its_base_does_not_run(board: Board) -> None:
    board.runtime.failing = {(1, 4)}
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.agent.status().phase == "failed")
        assert running.agent.keeper.models() == {}
        assert running.fault() == "self_test_failed"
        board.assign(TWO)
        await until(lambda: running.runs(2, 8))


async def test_what_nobody_foresaw_does_not_take_the_agent_down(board: Board) -> None:
    board.assign(ONE)
    board.runtime.surprises = {2}
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.assign(TWO)
        await until(lambda: running.fault() == "internal")
        await until(lambda: running.runs(1, 8))


async def test_an_older_version_needs_to_be_allowed(board: Board) -> None:
    board.assign(TWO)
    async with board.agent() as running:
        await until(lambda: running.runs(2, 8))
        board.assign(ONE)
        await until(lambda: running.fault() == "conflict")
        await until(lambda: running.runs(2, 8))
        board.assign(ONE, allow_older=True)
        await until(lambda: running.runs(1, 8))
        assert running.fault() == ""
        board.assign(TWO)
        await until(lambda: running.runs(2, 8))


async def test_an_assignment_from_the_past_is_ignored(board: Board) -> None:
    board.assign(ONE, generation=7)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.assign(TWO, generation=6)
        board.limit(ONE.bytes_at(4), 1)
        await until(lambda: running.runs(1, 4))
        assert running.agent.status().assigned == ONE.release
        assert running.agent.status().generation == 7


async def test_nothing_assigned_keeps_what_runs(board: Board) -> None:
    from common.topics import Topic  # noqa: PLC0415

    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.control.say(Topic.ASSIGNMENT, b"")
        await until(lambda: running.agent.status().assigned is None)
        await until(lambda: running.runs(1, 8))


async def test_a_version_that_is_gone_is_a_fault(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.server.gone = {TWO.release.manifest_digest}
        board.assign(TWO)
        await until(lambda: running.fault() == "not_found")
        await until(lambda: running.runs(1, 8))


async def test_a_newer_goal_overtakes_a_download(board: Board) -> None:
    board.server.gate.clear()
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: len(board.server.streams) == 1)
        board.assign(TWO)
        await until(lambda: running.agent.status().assigned == TWO.release)
        board.server.gate.set()
        await until(lambda: running.runs(2, 8))
        assert all(number == 2 for number, _ in board.runtime.loads)


async def test_less_memory_in_mid_download_counts_at_once(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.server.gate.clear()
        board.assign(TWO)
        await until(lambda: running.agent.status().phase == "fetching")
        board.limit(ONE.bytes_at(4), 1)
        await until(lambda: running.agent.status().level == 4)
        board.server.gate.set()
        await until(lambda: running.runs(2, 4))
        assert running.ledger()["retransmitted"] == 0


async def test_a_restart_serves_from_disk_without_any_network(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
    moved = board.server.sent.total()
    board.server.away = True
    board.control.goals.clear()
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert board.runtime.loads[-1][1] == (8, 8, 8, 4)
    assert board.server.sent.total() == moved


async def test_a_server_that_is_away_at_the_start_is_waited_for(board: Board) -> None:
    board.server.away = True
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.agent.status().phase == "waiting")
        board.server.away = False
        await until(lambda: running.runs(1, 8))


async def test_an_id_that_another_device_holds_ends_an_agent_with_nothing_to_serve(board: Board) -> None:
    board.server.refuse = True
    async with board.agent() as running:
        with pytest.raises(ConflictError, match="Another device"):
            await running.task


async def test_an_id_that_another_device_holds_does_not_silence_an_agent_that_serves(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
    board.server.refuse = True
    enrolments = board.server.enrolments
    async with board.agent() as running:
        await until(lambda: board.server.enrolments > enrolments)
        await until(lambda: running.runs(1, 8))
        assert not running.task.done()


async def test_a_second_agent_on_the_same_store_is_refused(board: Board) -> None:
    async with board.agent():
        with pytest.raises(ConflictError, match="Another agent"):
            async with board.agent():
                pass
