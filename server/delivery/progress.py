"""Progress of work in a thread, for whoever waits on the event loop; and the way to stop that work."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from common.errors import LinkError


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a step is.

    Attributes:
        step: "receive", "calibrate", "quantize", "fidelity", "self-test", "ranges", "scales" or "store".
        done, total: In the step's own unit.
    """

    step: str
    done: int
    total: int


class ProgressFeed:
    """Hands over the newest progress of each step; what nobody took in time is passed over."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._newest: dict[str, Progress] = {}
        self._lock = threading.Lock()
        self._news = asyncio.Event()
        self._stopped = threading.Event()

    def report(self, step: str, done: int, total: int) -> None:
        """Take progress in; called by the working thread.

        Raises:
            LinkError: Nobody waits any more: the work shall end here.
        """
        if self._stopped.is_set():
            raise LinkError("The push was cut off.")
        with self._lock:
            self._newest[step] = Progress(step, done, total)
        self._loop.call_soon_threadsafe(self._news.set)

    def stop(self) -> None:
        """The next report ends the work."""
        self._stopped.set()

    async def until_done(self, work: asyncio.Future[Any]) -> AsyncIterator[Progress]:
        """Progress as it comes, until the work has ended, well or not."""
        work.add_done_callback(lambda _: self._news.set())
        while not work.done():
            await self._news.wait()
            self._news.clear()
            for progress in self._taken():
                yield progress
        for progress in self._taken():
            yield progress

    def _taken(self) -> list[Progress]:
        with self._lock:
            taken = list(self._newest.values())
            self._newest.clear()
        return taken
