"""A disk that fills up, or turns read-only, at a moment of one's choice: every later change of it fails."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from device_agent.store.store import Store

CHANGING: Final = ("write", "fsync", "replace", "unlink")
NEVER: Final = 1 << 30


class FailingDisk:
    """Counts the system calls by which a process changes its disk, and fails those after a number of them.

    Attributes:
        counted: Calls so far.
        left: Calls that still work; 0 or less: none does.
    """

    def __init__(self, left: int, error: int) -> None:
        self.counted = 0
        self.left = left
        self._error = error

    def tick(self) -> None:
        self.counted += 1
        self.left -= 1
        if self.left < 0:
            raise OSError(self._error, os.strerror(self._error))

    def failing(self) -> bool:
        return self.left < 0


@contextmanager
def failing_disk(left: int, *, error: int = errno.ENOSPC) -> Iterator[FailingDisk]:
    """Within the block, so many changes of the disk work and no more; the database's own are not touched."""
    disk = FailingDisk(left, error)
    calls = {name: getattr(os, name) for name in CHANGING}
    for name, call in calls.items():
        setattr(os, name, _counting(call, disk))
    try:
        yield disk
    finally:
        for name, call in calls.items():
            setattr(os, name, call)


@contextmanager
def read_only(store: Store) -> Iterator[None]:
    """The store's file system has been mounted anew, read-only, as after an error of its disk."""
    database = store.ledger._db
    with failing_disk(0, error=errno.EROFS):
        database.execute("PRAGMA query_only = ON")
        try:
            yield
        finally:
            database.execute("PRAGMA query_only = OFF")


def _counting(call: Callable[..., Any], disk: FailingDisk) -> Callable[..., Any]:
    def counted(*arguments: Any, **options: Any) -> Any:
        if call.__name__ != "write" or arguments[0] > 2:  # the log goes on
            disk.tick()
        return call(*arguments, **options)

    return counted
