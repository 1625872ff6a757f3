"""The clock port: wall time for records, monotonic time for waits."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the rest of the code may know of time."""

    def unix_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    def monotonic_seconds(self) -> float:
        """Seconds that never run backwards; the origin is arbitrary."""


class SystemClock:
    """The machine's clock."""

    def unix_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    def monotonic_seconds(self) -> float:
        """Seconds since an arbitrary origin."""
        return time.monotonic()
