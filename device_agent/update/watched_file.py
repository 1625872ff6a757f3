"""A short text file that something else on the board writes, looked at again and again."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_MAX_BYTES: Final = 256


class WatchedFile:
    """Reads the file only when it looks changed. Blocking, but short."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, int, int] | None = None

    def forget(self) -> None:
        """The next look reads the file whether it looks changed or not."""
        self._stamp = None

    def changed(self) -> str | None:
        """Its text, without space around it; None when it looks as it did at the last look.

        Raises:
            FileNotFoundError: It is not there.
            OSError: It cannot be read.
        """
        try:
            status = self.path.stat()
        except FileNotFoundError:
            self._stamp = None
            raise
        stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
        if stamp == self._stamp:
            return None
        self._stamp = stamp
        with self.path.open("rb") as opened:
            return opened.read(_MAX_BYTES).decode("ascii", "replace").strip()
