"""How long to wait before trying again. Pure but for the dice."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

FIRST_SECONDS: Final = 0.5
LONGEST_SECONDS: Final = 60.0


class Backoff:
    """Waits that double from one failure to the next, each at random between half of it and all of it.

    The dice keep a fleet that lost its server from coming back in one second.

    Args:
        first_seconds: Longest first wait.
        longest_seconds: No wait is longer.
        dice: Gives numbers in [0, 1).
    """

    def __init__(
        self,
        *,
        first_seconds: float = FIRST_SECONDS,
        longest_seconds: float = LONGEST_SECONDS,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self._first_seconds = first_seconds
        self._longest_seconds = longest_seconds
        self._dice = dice
        self._next_seconds = first_seconds

    def next_seconds(self) -> float:
        """The wait after one more failure."""
        wait_seconds = self._next_seconds
        self._next_seconds = min(2 * wait_seconds, self._longest_seconds)
        return wait_seconds * (1 + self._dice()) / 2

    def reset(self) -> None:
        """It worked: the next failure begins anew."""
        self._next_seconds = self._first_seconds
