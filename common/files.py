"""Files that are either whole or not there: fsync the file, rename it, fsync the folder."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path


def fsync_folder(folder: Path) -> None:
    """Make the folder's entries survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def move_into_place(source: Path, target: Path) -> None:
    """Give a finished file its name, durably; an existing target is replaced whole."""
    with source.open("rb") as file:
        os.fsync(file.fileno())
    source.replace(target)
    fsync_folder(target.parent)


def write_atomically(target: Path, data: bytes) -> None:
    """Store bytes under a name; a reader, or the next start, sees the old content or the new, never a mix."""
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    fsync_folder(target.parent)
