"""Clocks that are wrong."""

from __future__ import annotations

from typing import Final

from common.clock import SystemClock

YEAR_SECONDS: Final = 365 * 86_400


class WrongClock(SystemClock):
    """Off by so many seconds, as that of a board without a battery, or one that was set wrongly."""

    def __init__(self, off_seconds: int) -> None:
        self._off_ms = off_seconds * 1000

    def unix_ms(self) -> int:
        return super().unix_ms() + self._off_ms
