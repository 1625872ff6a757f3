"""Inference off the event loop: few threads, and a queue that ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from common.errors import CapacityError

_Result = TypeVar("_Result")


class Worker:
    """Runs blocking calls; refuses what it could not begin in good time.

    Args:
        threads: Calls at the same time; torch spreads one call over all cores already.
        waiting: Calls that may wait for a thread.
    """

    def __init__(self, *, threads: int = 1, waiting: int = 32) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="inference")
        self._free = threading.BoundedSemaphore(threads + waiting)

    async def run(self, call: Callable[[], _Result]) -> _Result:
        """What the call returns.

        Raises:
            CapacityError: Too many calls are waiting, or the worker is closed.
        """
        if not self._free.acquire(blocking=False):
            raise CapacityError("Too many requests are waiting.", advice="Ask again later.")
        try:
            future = self._pool.submit(call)
        except RuntimeError as error:
            self._free.release()
            raise CapacityError("The agent is shutting down.", advice="Ask again later.") from error
        future.add_done_callback(lambda _: self._free.release())
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Drop the calls that wait; those that run come to their end."""
        self._pool.shutdown(wait=False, cancel_futures=True)
