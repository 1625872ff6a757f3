"""Strikes an agent at one system call after another, and looks at what comes of it.

Run as a program of its own, since it forks:

    python -m tests.support.crash_points FOLDER HOW STRIDE OFFSET

HOW is "kill": SIGKILL, and then the next start must be right; or "error": the call fails as on a full disk,
and the agent itself must get over it. Every point is the moment before a write, sync, rename or removal of
a file; a kill also strikes before each statement of the ledger's database. Prints how many points there are
and how many were tried; fails at the first that breaks.
"""

from __future__ import annotations

import asyncio
import errno
import faulthandler
import os
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from common.digest import sha256_hex
from tests.support.fleet import CHUNK_BYTES, Board, MemoryServer, RunningAgent, make_version
from tests.support.waiting import until

ONE = make_version(1)
TWO = make_version(2, changed=1)
SPEECH = make_version(1, model="speech", seed=7)
VERSIONS = [ONE, TWO, SPEECH]
NO_POINT = 1 << 30
CHILD_SECONDS = 300  # it takes a fraction of one, and ten where others take the machine
POINTS_OF_FIRST_START = 3  # an error there ends the agent with a clear message


class Countdown:
    """Strikes when so many calls have been counted."""

    def __init__(self, left: int, how: str) -> None:
        self.start = self.left = left
        self.how = how

    def tick(self, *_: object) -> None:
        self.left -= 1
        if self.left:
            return
        if self.how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    @property
    def counted(self) -> int:
        return self.start - self.left

    def install(self) -> None:
        """Count every call by which the store changes the disk."""
        for name in ("write", "fsync", "replace", "unlink"):
            setattr(os, name, self._counting(getattr(os, name)))
        if self.how == "error":
            return  # SQLite's own calls cannot be made to fail from here
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
    """Version 1, then version 2 and another model beside it, as far as the process gets."""
    board = Board(folder, MemoryServer(VERSIONS))
    board.assign(ONE, generation=1)
    async with board.agent() as running:
        await until(lambda: running.runs(1, 8) or running.store.state.record.seen_generation > 1)
        board.assign(TWO, SPEECH, generation=2)
        await until(lambda: running.run(net=(2, 8), speech=(1, 8)))


async def get_over(folder: Path) -> None:
    """As ``live``, looked at again and again, as time does with an agent that waits for room on its disk."""
    server = MemoryServer(VERSIONS)
    board = Board(folder, server)
    board.assign(ONE, generation=1)
    async with board.agent() as running:

        async def reaches(**models: tuple[int, int]) -> bool:
            there = running.run(**models)
            running.look_again()
            return there

        await until(lambda: reaches(net=(1, 8)))
        board.assign(TWO, SPEECH, generation=2)
        await until(lambda: reaches(net=(2, 8), speech=(1, 8)))
        assert running.fault() == ""
        counted = running.ledger()
        assert counted | expected() == counted, f"{counted} is not {expected()}"
        lost = server.sent.total() - sum(counted.values())
        assert 0 <= lost <= CHUNK_BYTES, f"{lost} bytes came and were not counted"


def reached(running: RunningAgent) -> dict[str, int]:
    """Model to the highest level that the ledger knows of its last version."""
    return {model: levels[-1] for (model, _), levels in sorted(running.store.ledger.reached().items())}


def expected() -> dict[str, int]:
    """What the versions move."""
    bases_bytes = ONE.wire(4) + SPEECH.wire(4, without=ONE)
    return {
        "base": bases_bytes,
        "shard": ONE.wire(8) + SPEECH.wire(8, without=ONE) - bases_bytes,
        "update": TWO.wire(8, without=ONE),
        "metadata": ONE.metadata + len(TWO.frame) + TWO.manifest.self_test.size_bytes + SPEECH.metadata,
    }


async def check(folder: Path) -> None:
    """What answered before answers again without a server; then everything comes to its right end."""
    server = MemoryServer(VERSIONS, away=True)
    board = Board(folder, server)
    async with board.agent() as running:
        if running.store.state.record.slot("net").active is not None:
            await until(running.agent.keeper.models)
        server.away = False
        board.assign(ONE, generation=1)
        await until(lambda: running.runs(1, 8) or running.store.state.record.seen_generation > 1)
        board.assign(TWO, SPEECH, generation=2)
        await until(lambda: running.run(net=(2, 8), speech=(1, 8)))
        wanted = {**expected(), "retransmitted": 0, "overhead": 0, "delta": 0}
        assert running.ledger() == wanted, f"{running.ledger()} is not {wanted}"
        # What a start finds at its level is noted in the first turn after it.
        await until(lambda: reached(running) == {"net": 8, "speech": 8})
        previous = running.store.state.record.slot("net").previous
        assert previous is not None
        assert previous.release == ONE.release
        assert running.store.blobs.present == set(ONE.blobs) | set(TWO.blobs) | SPEECH.device_blobs
    for path in (folder / "blobs").iterdir():
        assert sha256_hex(path.read_bytes()) == path.name
    assert list((folder / "partial").iterdir()) == []


def in_child(work: Callable[[], Coroutine[Any, Any, None]], before: Callable[[], None] | None = None) -> int:
    """The wait status of a child that did the work; one that hangs says where, and is a failure."""
    child = os.fork()
    if child:
        status = os.waitpid(child, 0)[1]
        assert not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGALRM, "a child hangs"
        return status
    try:
        faulthandler.dump_traceback_later(CHILD_SECONDS)
        signal.alarm(CHILD_SECONDS + 1)
        if before is not None:
            before()
        asyncio.run(work())
        os._exit(0)
    except BaseException as error:  # noqa: BLE001  # a child tells by its status
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        sys.stderr.flush()
        os._exit(1)


def count_points(folder: Path, how: str) -> int:
    """How many points a whole life has."""
    read_end, write_end = os.pipe()
    write = os.write

    async def counted() -> None:
        countdown = Countdown(NO_POINT, how)
        countdown.install()
        await live(folder)
        write(write_end, str(countdown.counted).encode())

    assert in_child(counted) == 0
    return int(os.read(read_end, 32))


def strike(store: Path, how: str, point: int) -> None:
    """One point, and what must come of it."""
    countdown = Countdown(point, how)
    if how == "error":
        assert in_child(lambda: get_over(store), countdown.install) == 0, f"failed at point {point}"
        return
    in_child(lambda: live(store), countdown.install)
    assert in_child(lambda: check(store)) == 0, f"killed at point {point}"


def main(folder: Path, how: str, stride: int, offset: int) -> None:
    points = count_points(folder / "whole", how)
    first = 1 if how == "kill" else POINTS_OF_FIRST_START + 1
    tried = range(first + offset % stride, points + 1, stride)
    for point in tried:
        store = folder / f"at-{point}"
        strike(store, how, point)
        shutil.rmtree(store)
    sys.stdout.write(f"{points} {len(tried)}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
