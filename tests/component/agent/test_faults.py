"""Links, servers and disks that misbehave: nothing wrong is ever loaded, and every byte is accounted for."""

from __future__ import annotations

import os
import random
import resource
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from device_agent.store.records import Attempt
from tests.support.fleet import CHUNK_BYTES, Board, MemoryServer, RunningAgent, make_version
from tests.support.waiting import until

ONE = make_version(1)
TWO = make_version(2, changed=1)
A_BASE = ONE.manifest.blocks[0].blobs[0].digest
A_SHARD = ONE.manifest.blocks[1].blobs[2].digest


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "store", MemoryServer([ONE, TWO]))


def accounted(running: RunningAgent, board: Board) -> bool:
    """The device counted exactly what the server handed over."""
    return sum(running.ledger().values()) == board.server.sent.total()


async def test_a_link_that_breaks_fifty_times_costs_no_byte_twice(board: Board) -> None:
    dice = random.Random(7)  # noqa: S311  # repeatable, no secret
    board.server.cuts = [dice.randrange(0, 40) for _ in range(50)]
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert board.server.cuts == []
        assert running.ledger()["retransmitted"] == 0
        assert board.server.sent.total() == ONE.wire(8) + ONE.metadata
        assert accounted(running, board)


@pytest.mark.parametrize("digest", [A_BASE, A_SHARD, ONE.manifest.graph.digest, ONE.release.manifest_digest])
async def test_a_flipped_bit_is_fetched_again_and_counted(board: Board, digest: str) -> None:
    board.server.flips[digest] = 1
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        again = len(ONE.frame) if digest == ONE.release.manifest_digest else len(ONE.blobs[digest])
        assert running.ledger()["retransmitted"] == again
        assert accounted(running, board)


@pytest.mark.parametrize("digest", [A_BASE, ONE.release.manifest_digest])
async def test_a_bit_that_stays_flipped_fails_the_version(board: Board, digest: str) -> None:
    board.server.flips[digest] = 1000
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.fault() == "integrity")
        await until(lambda: running.agent.status().phase == "failed")
        assert running.agent.keeper.models() == {}
        assert board.server.flips[digest] == 997
        assert accounted(running, board)


async def test_a_shard_that_stays_flipped_leaves_the_lower_level_running(board: Board) -> None:
    board.server.flips[A_SHARD] = 1000
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 6))
        assert running.fault() == "integrity"
        assert accounted(running, board)


async def test_a_blob_that_is_too_long_is_cut_and_the_surplus_counted(board: Board) -> None:
    board.server.excess[A_BASE] = 1000
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert running.ledger()["retransmitted"] == -len(ONE.blobs[A_BASE]) % CHUNK_BYTES
        assert accounted(running, board)


async def test_an_endless_blob_is_cut(board: Board) -> None:
    board.server.endless = {A_BASE}
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert accounted(running, board)


async def test_a_blob_that_is_too_short_fails_the_version(board: Board) -> None:
    board.server.short[A_BASE] = 100
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.fault() == "integrity")
        assert accounted(running, board)
        board.server.short.clear()
        board.assign(ONE)
        await until(lambda: running.runs(1, 8))
        assert running.ledger()["retransmitted"] == 0


async def test_a_disk_without_room_refuses_before_the_first_byte(board: Board) -> None:
    board.settings = replace(board.settings, disk_reserve_bytes=1 << 60)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.fault() == "capacity")
        assert board.server.streams == []
        assert running.agent.status().phase == "failed"
        fault = running.agent.status().fault
        assert fault is not None
        assert "Free some space" in fault.detail


async def test_a_short_disk_gives_up_the_way_back_before_the_update(board: Board, tmp_path: Path) -> None:
    three = make_version(3)
    board.server.versions.append(three)
    async with board.agent() as running:
        for version in (ONE, TWO):
            board.assign(version)
            await until(lambda number=version.manifest.version: running.runs(number, 8))  # type: ignore[misc]
    # All of the disk, whatever others do with it meanwhile.
    board.settings = replace(board.settings, disk_reserve_bytes=shutil.disk_usage(tmp_path).total)
    board.assign(three)
    async with board.agent() as running:
        await until(lambda: running.fault() == "capacity")
        assert running.store.state.record.slot("net").previous is None
        assert running.store.blobs.present == set(TWO.blobs)
        await until(lambda: running.runs(2, 8))


@contextmanager
def full_disk() -> Iterator[None]:
    """No file of this process can grow."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_a_disk_that_is_full_stops_no_service(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
    with full_disk():
        async with board.agent() as running:
            await until(lambda: running.runs(1, 8))
            board.limit(ONE.bytes_at(4), 1)
            await until(lambda: running.runs(1, 4))
            board.assign(TWO)
            await until(lambda: running.fault() == "capacity")
            board.limit(ONE.bytes_at(6), 2)
            await until(lambda: running.agent.status().level == 6)
    async with board.agent() as running:
        board.limit(0, 3)
        await until(lambda: running.runs(2, 8))
        assert accounted(running, board)


async def test_a_disk_that_fills_up_in_mid_download_loses_no_count(board: Board) -> None:
    board.server.gate.clear()
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: len(board.server.streams) == 1)
        with full_disk():
            board.server.gate.set()
            await until(lambda: running.fault() == "capacity")
        board.assign(ONE)
        await until(lambda: running.runs(1, 8))
        assert running.ledger()["base"] == ONE.wire(4)
        assert running.ledger()["retransmitted"] == 0


@pytest.mark.parametrize("digest", [A_BASE, A_SHARD, ONE.manifest.graph.digest])
async def test_a_blob_that_rots_on_disk_is_fetched_again(board: Board, digest: str) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
    rot(board, digest)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert running.ledger()["retransmitted"] == len(ONE.blobs[digest])
        assert accounted(running, board)


async def test_a_shard_that_rots_while_the_server_is_away_costs_only_its_level(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
    rot(board, A_SHARD)
    board.server.away = True
    async with board.agent() as running:
        await until(lambda: running.agent.status().level == 6)
        board.server.away = False
        await until(lambda: running.runs(1, 8))


async def test_a_rotten_version_gives_way_to_the_previous_one_until_it_is_whole_again(board: Board) -> None:
    async with board.agent() as running:
        for version in (ONE, TWO):
            board.assign(version)
            await until(lambda number=version.manifest.version: running.runs(number, 8))  # type: ignore[misc]
    changed = next(
        block.blobs[0].digest for block in TWO.manifest.blocks if block.blobs[0].digest not in ONE.blobs
    )
    rot(board, changed)
    board.server.away = True
    async with board.agent() as running:
        await until(lambda: running.agent.status().level == 8)
        active = running.store.state.record.slot("net").active
        assert active is not None
        assert active.release == ONE.release
        board.server.away = False
        await until(lambda: running.runs(2, 8))


async def test_a_rotten_manifest_is_fetched_again(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
    (board.folder / "manifests" / ONE.release.manifest_digest).write_bytes(b"rot")
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert set(board.server.streams) == set(dict.fromkeys(board.server.streams))


async def test_a_version_that_fails_only_after_a_restart_gives_way_to_the_previous_one(board: Board) -> None:
    async with board.agent() as running:
        for version in (ONE, TWO):
            board.assign(version)
            await until(lambda number=version.manifest.version: running.runs(number, 8))  # type: ignore[misc]
    board.runtime.failing = {(2, 4), (2, 6), (2, 8)}
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert running.fault() == "self_test_failed"
        assert running.agent.status().phase == "failed"


async def test_a_version_whose_loading_ends_the_process_is_given_up_after_three_times(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        await running.store.state.change_slot(
            "net", attempt=Attempt(f"{TWO.release.manifest_digest} update", 3)
        )
        board.assign(TWO)
        await until(lambda: running.fault() == "internal")
        await until(lambda: running.runs(1, 8))
        assert all(number == 1 for number, _ in board.runtime.loads)


async def test_a_start_that_ends_the_process_three_times_is_made_at_the_base(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        await running.store.state.change_slot(
            "net", attempt=Attempt(f"{ONE.release.manifest_digest} in full", 3)
        )
    async with board.agent() as running:
        await until(lambda: running.runs(1, 4))
        assert running.fault() == "internal"
        board.limit(ONE.bytes_at(6), 1)
        await until(lambda: running.runs(1, 6))


async def test_a_damaged_ledger_begins_anew_and_nothing_else_is_lost(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        before = running.store.ledger.ledger_id
    (board.folder / "ledger.sqlite").write_bytes(b"this is no database" * 100)
    moved = board.server.sent.total()
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert running.store.ledger.ledger_id != before
        assert board.server.sent.total() == moved


async def test_a_partial_file_that_lost_its_end_to_a_power_cut_is_counted_as_sent_again(board: Board) -> None:
    board.server.gate.clear()
    board.assign(ONE)
    async with board.agent() as running:
        board.server.gate.set()
        await until(lambda: running.runs(1, 8))
    # The rename survived and the data did not: what is left of the blob is shorter than what was received.
    os.truncate(board.folder / "blobs" / A_BASE, 10)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        assert running.ledger()["retransmitted"] == len(ONE.blobs[A_BASE])
        assert accounted(running, board)


async def test_whatever_the_link_does_every_byte_is_accounted_for(board: Board) -> None:
    dice = random.Random(11)  # noqa: S311  # as above
    board.server.cuts = [dice.randrange(0, 400) for _ in range(40)]
    board.server.flips = Counter({A_BASE: 1, A_SHARD: 2})
    board.server.excess = {ONE.manifest.self_test.digest: 5}
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.server.cuts = [dice.randrange(0, 400) for _ in range(10)]
        board.assign(TWO)
        await until(lambda: running.runs(2, 8))
        assert accounted(running, board)
        ledger = running.ledger()
        assert ledger["base"] + ledger["shard"] == ONE.wire(8)
        assert ledger["update"] == TWO.wire(8, without=ONE)


def rot(board: Board, digest: str) -> None:
    path = board.folder / "blobs" / digest
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
