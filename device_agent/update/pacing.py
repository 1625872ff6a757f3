"""A download that leaves room for others: waits so that the average rate stays below a limit."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

# Timers are coarse: what is less than this early is in time.
_SHORTEST_SECONDS: Final = 0.001


class Pacer:
    """Paces all downloads together.

    Args:
        limit_bytes_per_second: 0 for no limit.
        check: Told of the bytes that came before each wait, and of none after it; raises where no more may.
    """

    def __init__(
        self, limit_bytes_per_second: int = 0, *, check: Callable[[int], None] = lambda _: None
    ) -> None:
        self._limit = limit_bytes_per_second
        self._check = check
        self._received_bytes = 0
        self._paid_bytes = 0.0
        self._paid_at_seconds = 0.0
        self._changed = asyncio.Event()

    @property
    def limit_bytes_per_second(self) -> int:
        """0 for no limit."""
        return self._limit

    def limit(self, limit_bytes_per_second: int) -> None:
        """Another limit holds for what comes from now on, and nothing waits for the old one; 0 lifts it."""
        if limit_bytes_per_second != self._limit:
            self._limit = limit_bytes_per_second
            self._paid_bytes = float(self._received_bytes)
            self._changed.set()
            self._changed = asyncio.Event()

    async def received(self, count_bytes: int) -> None:
        """Return once the next bytes may be asked for. Time without a download earns no credit.

        Raises:
            HeldError: No more may come.
        """
        self._check(count_bytes)
        self._pay()
        self._received_bytes += count_bytes
        until_bytes = self._received_bytes
        while (
            self._limit
            and (wait_seconds := (until_bytes - self._paid_bytes) / self._limit) > _SHORTEST_SECONDS
        ):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_seconds):
                    await self._changed.wait()
            self._pay()
        self._check(0)

    def _pay(self) -> None:
        """Time has passed: so many of the received bytes are within the limit now."""
        now = asyncio.get_running_loop().time()
        earned = (now - self._paid_at_seconds) * self._limit if self._limit else float(self._received_bytes)
        self._paid_bytes = min(float(self._received_bytes), self._paid_bytes + earned)
        self._paid_at_seconds = now
