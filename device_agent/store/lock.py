"""One agent per store."""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from common.errors import ConflictError


class StoreLock:
    """Held from construction to ``release``, or to the end of the process, however it ends.

    Raises:
        ConflictError: Another process holds it.
    """

    def __init__(self, path: Path) -> None:
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(self._handle, 32).decode(errors="replace").strip()
            os.close(self._handle)
            raise ConflictError(
                f"Another agent{f' (process {holder})' if holder else ''} runs on the store {path.parent}.",
                advice="Stop it, or take another store_dir.",
            ) from error
        with contextlib.suppress(OSError):  # a full disk: the number is only for the message above
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Another agent may have the store."""
        os.close(self._handle)
