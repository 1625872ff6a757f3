"""A download that leaves room for others: waits so that the average rate stays below a limit."""

from __future__ import annotations

import asyncio


class Pacer:
    """Paces one download after another.

    Args:
        limit_bytes_per_second: 0 for no limit.
    """

    def __init__(self, limit_bytes_per_second: int = 0) -> None:
        self._limit = limit_bytes_per_second
        self._free_at_seconds = 0.0

    @property
    def limit_bytes_per_second(self) -> int:
        """0 for no limit."""
        return self._limit

    async def received(self, count_bytes: int) -> None:
        """Return once the next bytes may be asked for. Time without a download earns no credit."""
        if not self._limit:
            return
        now = asyncio.get_running_loop().time()
        self._free_at_seconds = max(now, self._free_at_seconds) + count_bytes / self._limit
        await asyncio.sleep(self._free_at_seconds - now)
