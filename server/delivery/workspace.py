"""A folder for each push under way. What a crash leaves is swept at the next start."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from common.errors import CapacityError

_LOCK: Final = "lock"
_PREFIX: Final = "push-"


class Workspace:
    """Makes and removes the folders of pushes; several server processes may share it.

    Args:
        root: Where the folders go; made when missing.
        reserve_bytes: What must stay free on its disk.
    """

    def __init__(self, root: Path, *, reserve_bytes: int) -> None:
        self._root = root
        self._reserve_bytes = reserve_bytes

    def sweep(self) -> int:
        """Every folder whose process has ended is gone; how many there were."""
        self._root.mkdir(parents=True, exist_ok=True)
        swept = 0
        for folder in self._root.glob(f"{_PREFIX}*"):
            with contextlib.suppress(OSError), _locked(folder / _LOCK):
                shutil.rmtree(folder, ignore_errors=True)
                swept += 1
        return swept

    @contextlib.contextmanager
    def folder(self, needed_bytes: int) -> Iterator[Path]:
        """A new folder on a disk with room, gone afterwards.

        Raises:
            CapacityError: The disk has too little room.
        """
        self._root.mkdir(parents=True, exist_ok=True)
        self._check_room(needed_bytes)
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=self._root))
        try:
            with _locked(folder / _LOCK):
                yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _check_room(self, needed_bytes: int) -> None:
        free_bytes = shutil.disk_usage(self._root).free - self._reserve_bytes
        if needed_bytes > free_bytes:
            raise CapacityError(
                f"The push needs {needed_bytes} bytes of disk; the server has {max(free_bytes, 0)} to give.",
                needed_bytes=needed_bytes,
                available_bytes=max(free_bytes, 0),
                advice="Delete versions and run `nestfleet gc`, or give the server more disk.",
            )


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that ends with the process.

    Raises:
        BlockingIOError: Somebody else holds it.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)
