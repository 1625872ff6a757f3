"""A store that may take only so much: shards go where something dearer has to come."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fleet import Board, MemoryServer, make_version
from tests.support.waiting import until

ONE = make_version(1)
TWO = make_version(2)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "store", MemoryServer([ONE, TWO]))


def shards(level: int) -> list[str]:
    """Digests of the first version's shards up to a level."""
    return [block.blobs[level].digest for block in ONE.manifest.blocks if block.tensors]


async def test_bases_of_an_update_push_out_shards_that_nobody_runs_at(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        held_bytes = sum(running.store.sizes().values())
    board.settings = replace(board.settings, disk_budget_bytes=held_bytes + TWO.wire(4) // 2 + TWO.metadata)
    board.limit(ONE.bytes_at(4), 1)
    board.assign(TWO)
    async with board.agent() as running:
        await until(lambda: running.runs(2, 4))
        assert running.store.room_bytes(0) >= 0
        gone = set(ONE.blobs) - running.store.blobs.present
        assert gone
        assert gone <= {*shards(1), *shards(2)}
        previous = running.store.state.record.slot(TWO.release.model).previous
        assert previous is not None, "the way back is kept"


async def test_a_budget_that_not_even_the_base_fits_in_is_refused_and_says_so(board: Board) -> None:
    board.settings = replace(board.settings, disk_budget_bytes=100)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.fault() == "capacity")
        fault = running.agent.status().fault
        assert fault is not None
        assert "within the store's budget of 100" in fault.detail
        assert running.held_by() == "disk"
        assert board.server.streams == []


async def test_nothing_goes_where_it_would_not_be_enough(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        held_bytes = sum(running.store.sizes().values())
    board.settings = replace(board.settings, disk_budget_bytes=held_bytes + TWO.metadata)
    board.assign(TWO)
    async with board.agent() as running:
        await until(lambda: running.fault() == "capacity")
        assert running.store.blobs.present == set(ONE.blobs)
        await until(lambda: running.runs(1, 8))
