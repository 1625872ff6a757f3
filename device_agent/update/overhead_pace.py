"""When overhead alone is worth a report of the ledger: soon after a transfer, then ever more rarely. Pure.

Each report makes overhead by itself, so reporting every change of it would never end.
"""

from __future__ import annotations

from typing import Final

_FIRST_SECONDS: Final = 2.0
_LONGEST_SECONDS: Final = 3600.0


class OverheadPace:
    """Waits that double with each report that told of nothing but overhead."""

    def __init__(self) -> None:
        self._wait_seconds = _FIRST_SECONDS
        self._due_seconds = _FIRST_SECONDS
        self._reported_bytes = 0

    def reported(self, overhead_bytes: int, now_seconds: float, *, alone: bool) -> None:
        """The ledger was reported; ``alone``: for the overhead's sake."""
        self._reported_bytes = overhead_bytes
        self._wait_seconds = min(2 * self._wait_seconds, _LONGEST_SECONDS) if alone else _FIRST_SECONDS
        self._due_seconds = now_seconds + self._wait_seconds

    def left_seconds(self, now_seconds: float) -> float:
        """Until the next look."""
        return max(0.0, self._due_seconds - now_seconds)

    def look(self, now_seconds: float) -> bool:
        """Whether it is time to look for more overhead; the next time is one wait later."""
        if now_seconds < self._due_seconds:
            return False
        self._due_seconds = now_seconds + self._wait_seconds
        return True

    def is_news(self, overhead_bytes: int) -> bool:
        """Whether so much overhead has not been reported yet."""
        return overhead_bytes != self._reported_bytes
