"""Kills an agent at one system call after another of an update by deltas, and looks at what comes of it.

Run as a program of its own, since it forks:

    python -m tests.support.delta_crash_points FOLDER HOW STRIDE OFFSET

As ``crash_points``, but each try begins on a copy of a device that runs version 1 in full.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from common.digest import sha256_hex
from tests.support.crash_points import NO_POINT, Countdown, in_child
from tests.support.deltas import DeltaDesk
from tests.support.fleet import Board, MemoryServer, make_version
from tests.support.waiting import until

ONE = make_version(1, scale=8)
TWO = make_version(2, scale=8, near=True)


async def begin(folder: Path) -> None:
    """Version 1 runs in full."""
    board = Board(folder, MemoryServer([ONE, TWO], deltas=DeltaDesk()))
    board.assign(ONE, generation=1)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8))


async def update(folder: Path) -> None:
    """Version 2, as far as the process gets."""
    board = Board(folder, MemoryServer([ONE, TWO], deltas=DeltaDesk()))
    board.assign(TWO, generation=2)
    async with board.agent() as running:

        async def there() -> bool:
            there = running.runs(2, 8)
            running.look_again()
            return there

        await until(there)


async def check(folder: Path, how: str) -> None:
    """Everything comes to its right end; after a kill no byte came twice; none came that a delta saves."""
    server = MemoryServer([ONE, TWO], deltas=DeltaDesk())
    board = Board(folder, server)
    board.assign(TWO, generation=2)
    async with board.agent() as running:
        await until(lambda: running.runs(2, 8))
        ledger = running.ledger()
        moved = {kind: ledger[kind] for kind in ("delta", "update")}
        assert moved == {"delta": all_deltas_bytes(), "update": 0}, f"moved {moved}"
        # What a disk does not take has to come again.
        assert ledger["retransmitted"] == 0 or how == "error", f"{ledger['retransmitted']} bytes came again"
        assert ledger["base"] + ledger["shard"] == ONE.wire(8)
        held = ONE.device_blobs | TWO.device_blobs
        assert running.store.blobs.present == held
    for path in (folder / "blobs").iterdir():
        assert sha256_hex(path.read_bytes()) == path.name
    assert list((folder / "partial").iterdir()) == []


def all_deltas_bytes() -> int:
    """What the update moves."""
    wanted, held = ((version.manifest, version.blobs) for version in (TWO, ONE))
    offers = DeltaDesk().offers(wanted, held, (3, 3, 3, 1), (0, 0, 0, 0))
    return sum(offer.delta_size_bytes for offer in offers)


def count_points(folder: Path, how: str) -> int:
    """How many points the update has."""
    read_end, write_end = os.pipe()
    write = os.write

    async def counted() -> None:
        countdown = Countdown(NO_POINT, how)
        countdown.install()
        await update(folder)
        write(write_end, str(countdown.counted).encode())

    assert in_child(counted) == 0
    return int(os.read(read_end, 32))


def main(folder: Path, how: str, stride: int, offset: int) -> None:
    # In a child as well: the paging threads of a parent are not there in a fork of it.
    assert in_child(lambda: begin(folder / "begun")) == 0
    shutil.copytree(folder / "begun", folder / "whole")
    points = count_points(folder / "whole", how)
    tried = range(1 + offset % stride, points + 1, stride)
    for point in tried:
        store = folder / f"at-{point}"
        shutil.copytree(folder / "begun", store)
        ended = in_child(lambda: update(store), Countdown(point, how).install)  # noqa: B023  # run at once
        assert how == "kill" or ended == 0, f"not got over at point {point}"
        assert in_child(lambda: check(store, how)) == 0, f"{how} at point {point}"  # noqa: B023
        shutil.rmtree(store)
    sys.stdout.write(f"{points} {len(tried)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
