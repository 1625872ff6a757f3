"""A board's clock that is wrong, and is set when one likes; its waits are as long as anybody's."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Final

DAY_MS: Final = 86_400_000
YEAR_MS: Final = 365 * DAY_MS


def utc_ms(text: str) -> int:
    """Milliseconds since 1970 of a moment such as "2026-11-25 23:00"."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp() * 1000)


class WrongClock:
    """``Clock`` that shows what it was set to, and stands still otherwise."""

    def __init__(self, shown: str) -> None:
        self.shown_ms = utc_ms(shown)

    def set(self, shown: str) -> None:
        self.shown_ms = utc_ms(shown)

    def jump(self, by_ms: int) -> None:
        self.shown_ms += by_ms

    def unix_ms(self) -> int:
        return self.shown_ms

    def monotonic_seconds(self) -> float:
        return time.monotonic()
