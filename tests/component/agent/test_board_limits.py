"""An agent follows its board: memory, battery, sensors that break; what runs keeps answering."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.sensors.readings import Readings
from tests.support.fleet import PLENTY_BYTES, Board, MemoryServer, make_version
from tests.support.waiting import until

ONE = make_version(1)
TWO = make_version(2)
PLENTY = Readings(memory_limit_bytes=PLENTY_BYTES, battery_fraction=0.9, on_mains=False)


class Dial:
    """A sensor that says whatever a test sets."""

    def __init__(self) -> None:
        self.readings = PLENTY
        self.breaks = False

    def read(self) -> Readings:
        if self.breaks:
            raise OSError(5, "Input/output error")
        return self.readings


@pytest.fixture
def dial() -> Dial:
    return Dial()


@pytest.fixture
def board(tmp_path: Path, dial: Dial) -> Board:
    board = Board(tmp_path / "store", MemoryServer([ONE, TWO]), sensor=dial)
    board.settings = replace(
        board.settings, memory_budget_bytes=0, reserve_bytes=0, spare_memory_bytes=0, grow_seconds=0.1
    )
    return board


async def test_a_board_that_runs_short_of_memory_goes_down_and_comes_back_without_a_byte(
    board: Board, dial: Dial
) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        moved = running.ledger()
        dial.readings = replace(PLENTY, memory_limit_bytes=ONE.bytes_at(4))
        await until(lambda: running.runs(1, 4))
        dial.readings = PLENTY
        await until(lambda: running.runs(1, 8))
        assert running.ledger() == moved


async def test_a_battery_that_is_nearly_empty_means_base_and_no_shards_until_it_is_not(
    board: Board, dial: Dial
) -> None:
    dial.readings = replace(PLENTY, battery_fraction=0.05)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 4))
        assert running.ledger()["shard"] == 0
        dial.readings = replace(PLENTY, battery_fraction=0.15)
        await until(lambda: "15%" in str(running.agent.status_tree()["board"]["why"]))
        await until(lambda: running.runs(1, 4))  # nothing goes up
        dial.readings = replace(PLENTY, battery_fraction=0.05)
        await until(lambda: "5%: base" in str(running.agent.status_tree()["board"]["why"]))
        why = running.agent.status_tree()["board"]["why"]
        assert why == ["the battery is at 5%: base"]
        dial.readings = PLENTY
        await until(lambda: running.runs(1, 8))
        assert running.held_by() == ""
        dial.readings = replace(PLENTY, battery_fraction=0.05)
        await until(lambda: running.runs(1, 4))
        board.assign(TWO)
        await until(lambda: running.agent.status().proven == TWO.release)
        assert running.agent.status().level == 4
    async with board.agent() as running:
        await until(lambda: running.runs(2, 4))
        assert board.runtime.loads[-1][1] == TWO.manifest.base_levels(), "it starts at its base"


async def test_a_hot_board_keeps_its_level_and_fetches_no_shard(board: Board, dial: Dial) -> None:
    board.server.gate.clear()
    board.assign(ONE)
    async with board.agent() as running:
        dial.readings = replace(PLENTY, cpu_celsius=90.0)
        await until(lambda: not running.agent.status_tree()["board"]["shards_may_come"])
        board.server.gate.set()
        await until(lambda: running.held_by() == "board")
        assert running.ledger()["shard"] == 0
        assert running.agent.status().level == 4
        dial.readings = PLENTY
        await until(lambda: running.runs(1, 8))
        dial.readings = replace(PLENTY, cpu_celsius=90.0)
        await until(lambda: not running.agent.status_tree()["board"]["shards_may_come"])
        await until(lambda: running.runs(1, 8))


async def test_a_sensor_that_breaks_changes_nothing_and_is_counted(board: Board, dial: Dial) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        dial.breaks = True
        await until(lambda: running.agent.status_tree()["board"]["failing_sensors"].get("Dial", 0) > 1)
        await until(lambda: running.runs(1, 8))
        dial.breaks = False
        dial.readings = replace(PLENTY, battery_fraction=0.05)
        await until(lambda: running.agent.status().level == 4)


async def test_a_budget_of_nothing_runs_at_the_base(board: Board, dial: Dial) -> None:
    dial.readings = replace(PLENTY, memory_limit_bytes=0)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 4))
        assert running.agent.status().budget_bytes == 0
        assert "takes the whole memory limit" in running.agent.status_tree()["board"]["why"][0]
