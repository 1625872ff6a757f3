"""Several models on one agent: they share disk, link and memory, and nothing of what goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.topics import Topic
from device_agent.store.records import Attempt
from tests.support.fleet import Board, MemoryServer, RunningAgent, make_version
from tests.support.waiting import until

NET = make_version(1)
SPEECH = make_version(3, model="speech", seed=7)
BAD_SPEECH = make_version(4, model="speech", seed=7, changed=1)
VISION = make_version(5, model="vision", seed=9)
BASES_BYTES = NET.bytes_at(4) + SPEECH.bytes_at(4)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "store", MemoryServer([NET, SPEECH, BAD_SPEECH, VISION]))


def faults(running: RunningAgent) -> dict[str, str]:
    return {model.model: model.fault.code for model in running.agent.status().models if model.fault}


def levels(running: RunningAgent) -> dict[str, int]:
    return {model.model: model.level for model in running.agent.status().models}


async def test_two_models_answer_by_their_names_and_every_byte_comes_once(board: Board) -> None:
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        assert set(running.agent.keeper.models()) == {"net", "speech"}
        status = running.agent.status()
        assert (status.proven, status.level) == (NET.release, 8), "the first model's"
        assert [model.assigned for model in status.models] == [NET.release, SPEECH.release]
        ledger = running.ledger()
        assert ledger["base"] + ledger["shard"] == NET.wire(8) + SPEECH.wire(8, without=NET)
        assert ledger["update"] == ledger["retransmitted"] == 0
        assert running.store.ledger.reached() == {("net", 1): (4, 6, 8), ("speech", 3): (4, 6, 8)}


async def test_one_budget_holds_for_both_and_what_it_leaves_is_split(board: Board) -> None:
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        moved = board.server.sent.total()
        board.limit(BASES_BYTES, 1)
        await until(lambda: running.run(net=(1, 4), speech=(3, 4)))
        status = running.agent.status()
        assert sum(model.resident_bytes for model in status.models) <= BASES_BYTES
        lean = {"net": NET.bytes_at(4), "speech": SPEECH.bytes_at(4)}
        await until(lambda: dict(board.runtime.shares) == lean)
        more_bytes = NET.bytes_at(8) + SPEECH.bytes_at(8) + 1000
        board.limit(more_bytes, 2)
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        shares = {"net": NET.bytes_at(8) + 500, "speech": SPEECH.bytes_at(8) + 500}
        assert dict(board.runtime.shares) == shares
        assert [model.memory_share_bytes for model in running.agent.status().models] == [*shares.values()]
        assert board.server.sent.total() == moved


async def test_memory_follows_what_is_asked_for(board: Board) -> None:
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        moved = board.server.sent.total()
        for _ in range(100):
            running.agent.answered("speech")
        running.agent._demand_watch.look()
        board.limit(NET.bytes_at(4) + SPEECH.bytes_at(6), 1)
        await until(lambda: running.run(net=(1, 4), speech=(3, 6)))
        assert running.agent.status_tree()["demand"] == {"net": 0.1, "speech": 1.0}
        for _ in range(100_000):
            running.agent.answered("net")
        running.agent._demand_watch.look()
        await until(lambda: running.run(net=(1, 6), speech=(3, 4)))
        assert running.agent.status_tree()["demand"]["net"] > 0.9
        assert board.server.sent.total() == moved


async def test_a_version_that_is_bad_rolls_back_alone(board: Board) -> None:
    board.runtime.failing = {(4, level) for level in (4, 6, 8)}
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        neighbour = running.agent.keeper.models()["net"]
        shares = dict(board.runtime.shares)
        board.assign(NET, BAD_SPEECH)
        await until(lambda: faults(running) == {"speech": "self_test_failed"})
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        status = running.agent.status()
        assert (status.phase, status.fault and status.fault.release) == ("failed", BAD_SPEECH.release)
        assert running.agent.keeper.models()["net"] is neighbour
        assert dict(board.runtime.shares) == shares
        while_loading = board.runtime.shares[-4:-2]
        assert dict(while_loading) == {"net": NET.bytes_at(8), "speech": SPEECH.bytes_at(8)}
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        assert faults(running) == {"speech": "self_test_failed"}


async def test_a_higher_level_that_fails_sends_back_its_own_model_alone(board: Board) -> None:
    board.runtime.failing = {(4, 8)}
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        board.limit(NET.bytes_at(8) + SPEECH.bytes_at(8), 1)
        neighbour = running.agent.keeper.models()["net"]
        board.assign(NET, BAD_SPEECH)
        await until(lambda: faults(running) == {"speech": "self_test_failed"})
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        assert running.agent.keeper.models()["net"] is neighbour


async def test_a_model_without_its_blobs_keeps_no_other_from_coming(board: Board) -> None:
    board.server.gone = {NET.manifest.blocks[0].blobs[0].digest}
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(speech=(3, 8)))
        assert faults(running) == {"net": "not_found"}
        board.server.gone = set()
        board.assign(NET, SPEECH)
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        assert faults(running) == {}


async def test_a_model_for_which_memory_lacks_keeps_no_other_from_coming(board: Board) -> None:
    board.runtime.hungry = {"net"}
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(speech=(3, 8)))
        assert faults(running) == {"net": "capacity"}
        board.runtime.hungry = set()
        running.agent.look_again()
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        assert faults(running) == {}


async def test_what_one_model_does_without_hides_no_fault_of_another_nor_keeps_it(board: Board) -> None:
    board.server.gone = {block.blobs[1].digest for block in NET.manifest.blocks[:3]}
    board.runtime.hungry = {"speech"}
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: faults(running) == {"net": "not_found", "speech": "capacity"})
        board.runtime.hungry = set()
        running.agent.look_again()
        await until(lambda: running.run(net=(1, 4), speech=(3, 8)))
        assert faults(running) == {"net": "not_found"}
        assert running.agent.status().phase == "failed"


async def test_a_model_that_is_unassigned_is_gone_and_its_blobs_go_with_the_next_update(board: Board) -> None:
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        board.assign(NET)
        await until(lambda: running.run(net=(1, 8)))
        assert set(running.agent.keeper.models()) == {"net"}
        assert running.store.blobs.present >= SPEECH.device_blobs
        moved = board.server.sent.total()
        board.assign(NET, SPEECH)
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        assert board.server.sent.total() == moved, "it comes back from the disk"
        board.assign(NET)
        await until(lambda: running.run(net=(1, 8)))
        board.assign(NET, VISION)
        await until(lambda: running.run(net=(1, 8), vision=(5, 8)))
        await until(lambda: running.store.blobs.present == NET.device_blobs | VISION.device_blobs)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), vision=(5, 8)))


async def test_what_answers_goes_on_where_all_that_is_wanted_in_its_place_fails(board: Board) -> None:
    board.runtime.failing = {(5, level) for level in (4, 6, 8)}
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        board.assign(VISION)
        await until(lambda: faults(running) == {"vision": "self_test_failed"})
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        board.assign(SPEECH, VISION)
        await until(lambda: running.run(speech=(3, 8)))


async def test_nothing_assigned_keeps_all_that_runs_also_over_a_restart(board: Board) -> None:
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        board.control.say(Topic.ASSIGNMENT, b"")
        await until(lambda: running.agent.status().assigned is None)
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
    board.server.away = True
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))


async def test_a_restart_shares_the_budget_before_it_loads(board: Board) -> None:
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        board.limit(BASES_BYTES, 1)
        await until(lambda: running.run(net=(1, 4), speech=(3, 4)))
    board.server.away = True
    loads = len(board.runtime.loads)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 4), speech=(3, 4)))
    assert [set(chosen) for _, chosen in board.runtime.loads[loads:]] == [{4}, {4}]


async def test_a_start_that_ends_the_process_is_climbed_down_for_its_model_alone(board: Board) -> None:
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        mark = Attempt(f"{NET.release.manifest_digest} in full", 3)
        await running.store.state.change_slot("net", attempt=mark)
    board.runtime.loaded.clear()
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 4), speech=(3, 8)))
        assert board.runtime.loaded == ["speech", "net"], "the others come first"
        assert faults(running) == {"net": "internal"}


async def test_a_version_that_fails_after_a_restart_gives_way_to_its_own_previous_one(board: Board) -> None:
    async with board.agent() as running:
        for version in (SPEECH, BAD_SPEECH):
            board.assign(NET, version)
            number = version.manifest.version
            await until(lambda number=number: running.run(net=(1, 8), speech=(number, 8)))  # type: ignore[misc]
    board.runtime.failing = {(4, level) for level in (4, 6, 8)}
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        assert faults(running) == {"speech": "self_test_failed"}


async def test_less_memory_in_mid_download_counts_at_once_for_all(board: Board) -> None:
    board.assign(NET, SPEECH)
    async with board.agent() as running:
        await until(lambda: running.run(net=(1, 8), speech=(3, 8)))
        board.server.gate.clear()
        board.assign(NET, SPEECH, VISION)
        await until(lambda: running.agent.status().phase == "fetching")
        board.limit(BASES_BYTES, 1)
        await until(lambda: levels(running) == {"net": 4, "speech": 4, "vision": 0})
        board.server.gate.set()
        await until(lambda: running.run(net=(1, 4), speech=(3, 4), vision=(5, 4)))
