"""Updates by deltas against a server in memory: what they move, and what happens when they go wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from nestfleet.v1 import control_pb2

from common.delta import spans
from common.digest import sha256_hex
from common.errors import LinkError
from device_agent.link.server import DeltaOffer
from tests.support.deltas import ConfusedDesk, DeltaDesk, WrongBaseDesk, contents
from tests.support.fleet import Board, MemoryServer, RunningAgent, TestVersion, make_version
from tests.support.waiting import until

SCALE = 8
ONE = make_version(1, scale=SCALE)
TWO = make_version(2, scale=SCALE, near=True)
PARTLY = make_version(2, scale=SCALE, near=True, changed=1)
OTHER = make_version(2, scale=SCALE)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "store", MemoryServer([ONE, TWO], deltas=DeltaDesk()))


def deltas_bytes(version: TestVersion, level: int = 8, *, above: int = 0) -> int:
    """Bytes of the deltas of a version's blobs up to a level, above another."""
    counts, present = (
        [
            sum(reached <= least for reached in block.levels(version.manifest.levels))
            for block in version.manifest.blocks
        ]
        for least in (level, above)
    )
    wanted, held = (version.manifest, version.blobs), (ONE.manifest, ONE.blobs)
    return sum(offer.delta_size_bytes for offer in DeltaDesk().offers(wanted, held, counts, present))


async def updated(board: Board, running: RunningAgent, version: TestVersion = TWO, level: int = 8) -> None:
    board.assign(version)
    await until(lambda: running.runs(version.manifest.version, level))


async def fresh_digest(folder: Path, version: TestVersion, level: int = 8) -> str:
    """What a device that never had anything else reports of a version."""
    board = Board(folder, MemoryServer([version]))
    board.assign(version, max_level=level)
    async with board.agent() as running:
        await until(lambda: running.runs(version.manifest.version, level))
        return running.agent.status().loaded_digest


def nothing_left_over(running: RunningAgent, *versions: TestVersion) -> bool:
    """Whether the disk holds whole blobs of these versions, and no deltas."""
    held = {digest for version in versions for digest in version.device_blobs}
    return running.store.blobs.present <= held and not running.store.blobs.partial()


async def test_an_update_by_deltas_gives_what_a_fresh_device_has(board: Board, tmp_path: Path) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        await updated(board, running)
        assert running.agent.status().loaded_digest == await fresh_digest(tmp_path / "fresh", TWO)
        assert running.ledger()["update"] == 0
        assert running.ledger()["delta"] == deltas_bytes(TWO) < TWO.wire(8, without=ONE) / 2
        assert running.ledger()["retransmitted"] == 0
        assert nothing_left_over(running, ONE, TWO)
        assert running.agent.status_tree()["whole_instead_of_delta"] == {}
    came_whole = board.server.sent.keys() & (TWO.device_blobs - ONE.device_blobs)
    assert came_whole == {TWO.manifest.self_test.digest}


async def test_a_device_at_its_base_moves_deltas_of_bases_alone(board: Board) -> None:
    board.limit(ONE.bytes_at(4), 1)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 4))
        await updated(board, running, level=4)
        assert running.ledger()["delta"] == deltas_bytes(TWO, 4)
        assert running.ledger()["update"] == running.ledger()["shard"] == 0
    assert board.server.asked == [((1, 1, 1, 0), (0, 0, 0, 0))]


async def test_shards_that_come_later_are_deltas_of_those_of_the_version_before(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.limit(TWO.bytes_at(4), 1)
        await until(lambda: running.runs(1, 4))
        await updated(board, running, level=4)
        board.limit(0, 2)
        await until(lambda: running.runs(2, 8))
        steps = [deltas_bytes(TWO, level, above=below) for below, level in ((0, 4), (4, 6), (6, 8))]
        assert running.ledger()["delta"] == sum(steps)
        assert running.ledger()["update"] == 0


async def test_blocks_that_did_not_change_move_nothing(board: Board) -> None:
    board.server.versions = [ONE, PARTLY]
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        await updated(board, running, PARTLY)
        assert running.ledger()["delta"] == deltas_bytes(PARTLY) > 0
        assert running.ledger()["update"] == 0
    assert board.server.asked == [((0, 0, 3, 0), (0, 0, 0, 0))]


async def test_a_version_that_is_something_else_comes_whole_since_that_is_cheaper(board: Board) -> None:
    board.server.versions = [ONE, OTHER]
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        await updated(board, running, OTHER)
        assert running.ledger()["update"] == OTHER.wire(8, without=ONE)
        assert running.agent.status_tree()["whole_instead_of_delta"] == {}


async def test_back_and_forth_between_versions_that_are_here_moves_nothing(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        await updated(board, running)
        sent, asked = board.server.sent.total(), len(board.server.asked)
        board.assign(ONE, allow_older=True)
        await until(lambda: running.runs(1, 8))
        await updated(board, running)
        assert (board.server.sent.total(), len(board.server.asked)) == (sent, asked)


async def test_an_older_server_knows_no_deltas_and_nobody_minds(board: Board) -> None:
    board.server.deltas = None
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        await updated(board, running)
        assert running.ledger()["update"] == TWO.wire(8, without=ONE)
        assert running.agent.status_tree()["whole_instead_of_delta"] == {}


async def test_a_wrong_delta_is_noticed_and_the_blob_comes_whole_and_that_is_said(
    board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    board.server.deltas = ConfusedDesk()
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        with caplog.at_level(logging.WARNING):
            await updated(board, running)
        assert "come whole" in caplog.text
        assert running.ledger()["update"] == TWO.wire(8, without=ONE)
        reasons = running.agent.status_tree()["whole_instead_of_delta"]
        assert reasons == {"a delta gave other bytes than the manifest names": 9}
        assert nothing_left_over(running, ONE, TWO)
        asked = len(board.server.asked)
        three = make_version(3, scale=SCALE, near=True)
        board.server.versions.append(three)
        await updated(board, running, three)
        assert len(board.server.asked) == asked, "deltas are not asked for again before a restart"
        assert running.agent.status_tree()["whole_instead_of_delta"] == {next(iter(reasons)): 18}


@pytest.mark.parametrize("piecemeal", [False, True])
async def test_what_can_be_rebuilt_beside_a_base_that_has_to_come_whole_is(
    board: Board,
    piecemeal: bool,  # noqa: FBT001
) -> None:
    board.server.deltas = WrongBaseDesk(piecemeal=piecemeal)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        await updated(board, running)
        bases = TWO.wire(4, without=ONE)
        assert running.ledger()["update"] == bases
        assert running.ledger()["retransmitted"] == 0
        assert nothing_left_over(running, ONE, TWO)


async def test_a_delta_that_the_server_lost_comes_whole(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        span = spans(TWO.manifest.blocks[2], TWO.manifest.levels, 0, 3)[0]
        held, wanted = (contents((version.manifest, version.blobs), 2, 2) for version in (ONE, TWO))
        board.server.gone = {sha256_hex(DeltaDesk().delta(held, wanted, span))}
        await updated(board, running)
        assert running.ledger()["update"] == sum(ref.size_bytes for ref in span.block.blobs)
        assert running.agent.status_tree()["whole_instead_of_delta"] == {"a delta could not be fetched": 3}


async def test_a_version_that_the_server_lost_is_said(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.server.versions = [TWO]
        await updated(board, running)
        assert running.ledger()["update"] == TWO.wire(8, without=ONE)
        assert running.agent.status_tree()["whole_instead_of_delta"] == {
            "the server could not offer deltas": 9
        }


@dataclass
class SilentServer(MemoryServer):
    """Fails to offer deltas for a while, and is there for everything else."""

    silences: int = 0

    async def offer_deltas(
        self, wanted: str, held: str, blobs_per_block: Sequence[int], present_per_block: Sequence[int]
    ) -> Sequence[DeltaOffer]:
        if self.silences:
            self.silences -= 1
            raise LinkError("The server is silent about deltas.")
        return await super().offer_deltas(wanted, held, blobs_per_block, present_per_block)


@pytest.mark.parametrize(("silences", "whole"), [(2, 0), (1000, 9)])
async def test_a_server_that_stays_silent_about_deltas_is_not_waited_for_for_ever(
    tmp_path: Path, silences: int, whole: int
) -> None:
    server = SilentServer([ONE, TWO], deltas=DeltaDesk())
    board = Board(tmp_path / "store", server)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        server.silences = silences
        await updated(board, running)
        counts = running.agent.status_tree()["whole_instead_of_delta"]
        assert sum(counts.values()) == whole
        assert (running.ledger()["update"] > 0) == (whole > 0)


async def test_whole_blobs_that_are_not_afforded_do_not_come(board: Board) -> None:
    board.server.deltas = ConfusedDesk()
    needed_bytes = TWO.wire(8, without=ONE)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        enough_bytes = board.server.sent.total() + needed_bytes
        board.limit(0, 1, control_pb2.TransferLimits(monthly_bytes=enough_bytes))
        board.assign(TWO)
        await until(lambda: running.held_by() == "update_budget")
        hold = running.agent.status().hold
        assert hold is not None
        assert f"{needed_bytes} bytes" in hold.detail, (
            "all that it takes is named before the first byte of it"
        )
        moved = board.server.sent.total()
        running.agent.look_again()
        await until(lambda: running.agent.settled)
        assert running.ledger()["update"] == 0
        assert board.server.sent.total() == moved, "deltas of no use are not fetched again"
        assert running.agent.status().proven == ONE.release, "what ran runs on"
        board.limit(0, 2, control_pb2.TransferLimits(monthly_bytes=2 * enough_bytes))
        await until(lambda: running.runs(2, 8))
        assert running.ledger()["update"] == needed_bytes
        assert running.ledger()["retransmitted"] == 0


async def test_a_month_in_which_deltas_fit_and_whole_blobs_do_not_is_enough(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        left_bytes = deltas_bytes(TWO) + len(TWO.frame) + 100
        assert left_bytes < TWO.wire(8, without=ONE)
        limits = control_pb2.TransferLimits(monthly_bytes=board.server.sent.total() + left_bytes)
        board.limit(0, 1, limits)
        await updated(board, running)


async def test_a_link_that_breaks_again_and_again_costs_no_byte_twice_and_one_question(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.server.cuts = [7 + 13 * number % 90 for number in range(15)]
        await updated(board, running)
        assert board.server.cuts == []
        assert running.ledger()["retransmitted"] == running.ledger()["update"] == 0
        assert running.ledger()["delta"] == deltas_bytes(TWO)
        assert len(board.server.asked) == 1


async def test_a_disk_without_room_for_it_is_noticed_before_the_first_delta(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
    # More than any disk has, so that what else goes on on this machine makes no difference.
    board.settings = replace(board.settings, disk_reserve_bytes=1 << 60)
    board.assign(TWO)
    async with board.agent() as running:
        await until(lambda: running.fault() == "capacity")
        assert running.ledger()["delta"] == 0
        await until(lambda: running.runs(1, 8))


async def test_a_held_blob_that_has_rotted_costs_its_own_block_alone(board: Board) -> None:
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        path = board.folder / "blobs" / ONE.manifest.blocks[1].blobs[2].digest
        path.write_bytes(b"rot")
        await updated(board, running)
        assert running.ledger()["update"] == sum(ref.size_bytes for ref in TWO.manifest.blocks[1].blobs)
        assert running.agent.status_tree()["whole_instead_of_delta"] == {
            "what a delta needs is damaged on the disk": 3
        }


async def test_a_newer_goal_overtakes_deltas_that_are_on_their_way(board: Board) -> None:
    three = make_version(3, scale=SCALE, near=True)
    board.server.versions.append(three)
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.server.gate.clear()
        board.assign(TWO)
        await until(lambda: board.server.asked)
        board.assign(three)
        board.server.gate.set()
        await until(lambda: running.runs(3, 8))
        assert running.ledger()["update"] == 0
        assert nothing_left_over(running, ONE, three)


async def test_a_blob_that_was_begun_whole_is_counted_right_when_a_delta_ends_it(board: Board) -> None:
    desk, board.server.deltas = board.server.deltas, None
    board.assign(ONE)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))
        board.server.cuts = [100, 70] + [0] * 10_000  # metadata, and the beginning of the first base
        board.assign(TWO)
        await until(lambda: running.ledger()["update"])
    begun_bytes = sum(path.stat().st_size for path in (board.folder / "partial").iterdir())
    board.server.cuts, board.server.deltas = [], desk
    async with board.agent() as running:
        await until(lambda: running.runs(2, 8))
        assert running.ledger()["update"] == begun_bytes > 0
        assert running.ledger()["delta"] == deltas_bytes(TWO)
        assert running.ledger()["retransmitted"] == 0
    async with board.agent() as running:
        await until(lambda: running.runs(2, 8))
        assert running.ledger()["update"] == begun_bytes, "nor does a start count it"
