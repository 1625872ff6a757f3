"""Ends an agent with SIGKILL at one system call after another, and looks at what the next start makes of it.

Run as a program of its own, since it forks: ``python -m tests.support.crash_points FOLDER STRIDE OFFSET``.
Every point is the moment before a write, sync, rename or removal of a file, or before a statement of the
ledger's database. Prints how many points there are and how many were tried; fails at the first that breaks.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from common.digest import sha256_hex
from tests.support.fleet import Board, MemoryServer, make_version
from tests.support.waiting import until

ONE = make_version(1)
TWO = make_version(2, changed=1)
NO_POINT = 1 << 30


class Countdown:
    """Ends the process when so many calls have been counted."""

    def __init__(self, left: int) -> None:
        self.start = self.left = left

    def tick(self, *_: object) -> None:
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    @property
    def counted(self) -> int:
        return self.start - self.left

    def install(self) -> None:
        """Count every call by which the store changes the disk."""
        for name in ("write", "fsync", "replace", "unlink"):
            setattr(os, name, self._counting(getattr(os, name)))
        connect = sqlite3.connect

        def traced(*arguments: Any, **options: Any) -> sqlite3.Connection:
            database: sqlite3.Connection = connect(*arguments, **options)
            database.set_trace_callback(self.tick)
            return database

        sqlite3.connect = traced  # type: ignore[assignment]

    def _counting(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self.tick()
            return call(*arguments, **options)

        return counted


async def live(folder: Path) -> None:
    """Version 1, then version 2, as far as the process gets."""
    board = Board(folder, MemoryServer([ONE, TWO]))
    board.assign(ONE, generation=1)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8) or running.store.state.record.seen_generation > 1)
        board.assign(TWO, generation=2)
        await until(lambda: running.runs(2, 8))


async def check(folder: Path) -> None:
    """What answered before answers again without a server; then everything comes to its right end."""
    server = MemoryServer([ONE, TWO], away=True)
    board = Board(folder, server)
    async with board.agent() as running:
        if running.store.state.record.active is not None:
            await until(running.agent.keeper.models)
        server.away = False
        board.assign(ONE, generation=1)
        await until(lambda: running.runs(1, 8) or running.store.state.record.seen_generation > 1)
        board.assign(TWO, generation=2)
        await until(lambda: running.runs(2, 8))
        expected = {
            "base": ONE.wire(4),
            "shard": ONE.wire(8) - ONE.wire(4),
            "update": TWO.wire(8, without=ONE),
            "metadata": ONE.metadata + len(TWO.frame) + TWO.manifest.self_test.size_bytes,
            "retransmitted": 0,
        }
        assert running.ledger() == expected, f"{running.ledger()} is not {expected}"
        assert running.store.ledger.reached()["net", 2][-1] == 8
        previous = running.store.state.record.previous
        assert previous is not None
        assert previous.release == ONE.release
        assert running.store.blobs.present == set(ONE.blobs) | set(TWO.blobs)
    for path in (folder / "blobs").iterdir():
        assert sha256_hex(path.read_bytes()) == path.name
    assert list((folder / "partial").iterdir()) == []


def in_child(work: Callable[[], Coroutine[Any, Any, None]], before: Callable[[], None] | None = None) -> int:
    """The wait status of a child that did the work."""
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        if before is not None:
            before()
        asyncio.run(work())
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  # a child tells by its status
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def count_points(folder: Path) -> int:
    """How many points a whole life has."""
    read_end, write_end = os.pipe()
    write = os.write

    async def counted() -> None:
        countdown = Countdown(NO_POINT)
        countdown.install()
        await live(folder)
        write(write_end, str(countdown.counted).encode())

    assert in_child(counted) == 0
    return int(os.read(read_end, 32))


def main(folder: Path, stride: int, offset: int) -> None:
    points = count_points(folder / "whole")
    tried = range(1 + offset % stride, points + 1, stride)
    for point in tried:
        store = folder / f"at-{point}"
        status = in_child(lambda: live(store), Countdown(point).install)  # noqa: B023
        assert os.WIFSIGNALED(status) or point > points * 0.9, f"point {point} was not reached: {status}"
        assert in_child(lambda: check(store)) == 0, f"killed at point {point} of {points}"  # noqa: B023
        shutil.rmtree(store)
    sys.stdout.write(f"{points} {len(tried)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
