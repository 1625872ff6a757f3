"""Two threads that page, for all models: requests come before them.

They stay, since each thread has a heap of its own in most allocators: in a new one nothing that earlier
page-ins have freed could be used again, and a change of levels would take the memory of a second model.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any, Final, TypeVar

from device_agent.residency.courtesy import REQUESTS

_Result = TypeVar("_Result")
_NICE: Final = 10  # a tenth of a core's time where all others want it, so that paging comes to an end too


def in_background(work: Callable[[], _Result]) -> _Result:
    """What the work returns, done in the paging thread; waits for it, and for what others do there before."""

    def begun() -> _Result:
        REQUESTS.begin()
        return work()

    return _PAGING.submit(begun).result()


def let_go(held: list[Any]) -> None:
    """The list is emptied in the background: to free the many MiB of a model takes a millisecond."""
    READING.submit(held.clear)


def _come_last() -> None:
    """Priorities are those of threads on Linux alone. A thread may not be able to raise its own again."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


_PAGING: Final = ThreadPoolExecutor(1, "paging", _come_last)
READING: Final[Executor] = ThreadPoolExecutor(1, "paging-reads", _come_last)
"""Where blobs are read and verified ahead of the paging thread."""


def for_each_thread(work: Callable[[], object]) -> None:
    """Do something once in each of these threads, e.g. to set what a library keeps per thread."""
    for pool in (_PAGING, READING):
        pool.submit(work).result()
