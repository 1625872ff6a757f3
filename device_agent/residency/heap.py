"""Memory that nobody uses any more, back to the system."""

from __future__ import annotations

import ctypes
import queue
import sys
import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

_WORTH_BYTES: Final = 1 << 20
_WAIT_SECONDS: Final = 60.0  # longer than any request takes


class Released:
    """What was let go of, and others may still use for a while.

    A request in flight reads the weights that it began with, so what a page-out drops is free only when the
    last such request has ended.
    """

    def __init__(self) -> None:
        self._watched: list[weakref.ref[object]] = []
        self._freed_bytes = 0
        # Objects end in any thread, at any point of it: what notes that must not wait for a lock.
        self._ended: queue.SimpleQueue[object] = queue.SimpleQueue()

    def watch(self, item: object, freed_bytes: int) -> None:
        """The item is in use until nobody refers to it.

        Args:
            item: Anything that allows weak references.
            freed_bytes: How much more memory it takes than what is there instead.
        """
        self._watched.append(weakref.ref(item, self._ended.put))
        self._freed_bytes += freed_bytes

    def then_give_back(self) -> None:
        """Once all items are gone, the system has what they took, if that is much; does not wait for it."""
        if self._freed_bytes < _WORTH_BYTES:
            return
        if self._ended.qsize() == len(self._watched):
            give_back()
        else:
            threading.Thread(target=self._wait, name="give-back", daemon=True).start()

    def _wait(self) -> None:
        deadline = time.monotonic() + _WAIT_SECONDS
        for _ in self._watched:
            try:
                self._ended.get(timeout=max(deadline - time.monotonic(), 0))
            except queue.Empty:
                break
        give_back()


def give_back() -> None:
    """The allocator's free pages are the system's; only glibc has to be told."""
    if _TRIM is not None:
        _TRIM(0)


def _find_trim() -> Callable[[int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError):
        return None  # musl, for one
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return trim


_TRIM: Final = _find_trim()
