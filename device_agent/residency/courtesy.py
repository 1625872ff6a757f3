"""Requests first: work in the background stands aside while one is answered, but not for ever.

A low priority is not enough. Both work in one interpreter, and each time that a request's thread finds its
lock taken, it sleeps and has to be woken, which takes longer than what it waited for.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Final

_PATIENCE: Final = (
    4.0  # so many times as long as it worked, work waits; so it has a fifth of the time at least
)
_LONGEST_SECONDS: Final = 0.1


class Courtesy:
    """Requests that are being answered, and work that gives way to them. Any number of threads of either.

    Args:
        longest_seconds: So long at most work waits at a time.
    """

    def __init__(self, longest_seconds: float = _LONGEST_SECONDS) -> None:
        self._longest_seconds = longest_seconds
        self._running = 0
        self._changed = threading.Condition()
        self._mine = threading.local()

    @contextlib.contextmanager
    def answering(self) -> Iterator[None]:
        """Inside, a request is answered."""
        with self._changed:
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                if not self._running:
                    self._changed.notify_all()

    def begin(self) -> None:
        """This thread begins some work."""
        self._mine.since = time.monotonic()

    def give_way(self) -> None:
        """Go on with this thread's work when no request is answered, or when it has waited long enough.

        To be called often: a request waits as long as the work goes on between two calls.
        """
        now = time.monotonic()
        worked_seconds = now - getattr(self._mine, "since", now)
        if self._running:
            patience_seconds = min(_PATIENCE * worked_seconds, self._longest_seconds)
            with self._changed:
                self._changed.wait_for(lambda: not self._running, patience_seconds)
        self._mine.since = time.monotonic()


REQUESTS: Final = Courtesy()
"""Those of this process."""
