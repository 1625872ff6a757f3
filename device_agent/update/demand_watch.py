"""Counts requests that are answered, and lets memory follow them once in a while."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection
from typing import Final

from common.clock import Clock
from device_agent.update.demand import Demand

_LOOK_SECONDS: Final = 60.0


class DemandWatch:
    """Belongs to one event loop.

    Args:
        demand: What is made of the counts.
        clock: For the time between two looks.
        present: Models that answer.
        on_change: Called when other shares hold.
        look_seconds: Time between two looks.
    """

    def __init__(
        self,
        demand: Demand,
        clock: Clock,
        *,
        present: Callable[[], Collection[str]],
        on_change: Callable[[], None],
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self._demand = demand
        self._clock = clock
        self._present = present
        self._on_change = on_change
        self._look_seconds = look_seconds
        self._answered: Counter[str] = Counter()
        self._looked_seconds = clock.monotonic_seconds()

    def answered(self, model: str) -> None:
        """A request has its answer."""
        self._answered[model] += 1

    def look(self) -> None:
        """What was answered since the last look counts from now on."""
        now_seconds = self._clock.monotonic_seconds()
        seconds = now_seconds - self._looked_seconds
        if seconds <= 0:
            return
        answered, self._answered = self._answered, Counter()
        self._looked_seconds = now_seconds
        if self._demand.look(answered, seconds, self._present()):
            self._on_change()

    async def watch(self) -> None:
        """Look again and again until cancelled."""
        while True:
            await asyncio.sleep(self._look_seconds)
            self.look()
