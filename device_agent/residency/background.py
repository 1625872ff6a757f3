"""Threads that page: requests come before them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Final, TypeVar

_Result = TypeVar("_Result")
_NICE: Final = 10  # a tenth of a core's time where all others want it, so that paging comes to an end too
_THREADS: Final = 2  # one works while the other reads


def in_background(work: Callable[[Executor], _Result]) -> _Result:
    """What the work returns, done in a thread of low priority; waits for it.

    Args:
        work: Gets an executor whose only other thread is of low priority too, for reading ahead; what it has
            not begun when the work ends is dropped.
    """
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="paging", initializer=_come_last)
    try:
        return pool.submit(work, pool).result()
    finally:
        pool.shutdown(cancel_futures=True)


def _come_last() -> None:
    """Priorities are those of threads on Linux alone; a thread cannot raise its own again, hence its end."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
