"""Notices a peer that leaves a message of a stream unread, at next to no cost for those that read."""

from __future__ import annotations

import asyncio


class WriteWatch:
    """Cancels the task that made it once one write takes too long: up to twice as long as it may.

    A timer for each write would cost a twentieth of what sending it does; this looks now and then.

    Args:
        seconds: How long a write may take.

    Attributes:
        overdue: Whether the task was cancelled for that; nobody else's cancellation counts.
    """

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise ValueError("a watch needs a task to watch")
        self._task = task
        self._loop = asyncio.get_running_loop()
        self._seconds = seconds
        self._began_seconds: float | None = None
        self._timer = self._loop.call_later(seconds, self._look)
        self.overdue = False

    def begin(self) -> None:
        """A write begins."""
        self._began_seconds = self._loop.time()

    def end(self) -> None:
        """It has ended."""
        self._began_seconds = None

    def close(self) -> None:
        """Nothing is watched any more."""
        self._timer.cancel()

    def _look(self) -> None:
        began = self._began_seconds
        if began is not None and self._loop.time() - began >= self._seconds:
            self.overdue = True
            self._task.cancel()
        else:
            self._timer = self._loop.call_later(self._seconds, self._look)
