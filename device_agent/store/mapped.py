"""Files as memory: mapped from disk, after the disk has shown that it gives them.

A page of a map that cannot be had ends the process with SIGBUS, where a read raises OSError. Two things lead
there. A file that is cut short beneath its map: files of the store are whole before they get their name, and
nobody writes to them after that; they are only ever unlinked or replaced, which leaves maps as they are. And
a disk that fails: so every byte is read once before it is mapped, and comes out of the system's cache then.
"""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path
from typing import Final

_READ_BYTES: Final = 1 << 16


def map_file(path: Path) -> memoryview:
    """The file's bytes, read-only; the map lasts as long as anyone refers to it.

    Raises:
        OSError: It is not there, or the disk does not give it.
    """
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size_bytes = os.fstat(handle).st_size
        _read_through(handle, size_bytes)
        # An empty file cannot be mapped.
        return memoryview(_mapped(handle, size_bytes) if size_bytes else b"")
    finally:
        os.close(handle)


def _mapped(handle: int, size_bytes: int) -> mmap.mmap:
    """The bytes; on Linux all pages are there at once, which the cache makes quick, and one by one is not."""
    populate = getattr(mmap, "MAP_POPULATE", 0)
    return mmap.mmap(handle, size_bytes, flags=mmap.MAP_SHARED | populate, prot=mmap.PROT_READ)


def _read_through(handle: int, size_bytes: int) -> None:
    """Every byte is in the system's cache. Lets other threads run while the disk works."""
    into = bytearray(min(size_bytes, _READ_BYTES))
    left_bytes = size_bytes
    while left_bytes > 0:
        count = os.readv(handle, [into])
        if not count:
            raise OSError(errno.EIO, "the file is shorter than it was")
        left_bytes -= count
