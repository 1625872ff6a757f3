"""Goals as they come in: the newest counts, and it is on disk before anything is done about it."""

from __future__ import annotations

import logging
from typing import Any, Final

from device_agent.store.records import Goal, Installed
from device_agent.store.store import Store
from device_agent.update.keeper import Keeper

_MAX_WAITING: Final = 8
_log = logging.getLogger(__name__)


class GoalIntake:
    """Between the control link, which only hands over, and the updater, which has the time to write."""

    def __init__(self, store: Store, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper
        self._waiting: list[Goal | None] = []

    @property
    def next_goal(self) -> Goal | None:
        """The oldest goal that is not taken in yet; None when there is none, or it is to have none."""
        return self._waiting[0] if self._waiting else None

    def hand_over(self, goal: Goal | None) -> None:
        """The server wants this now; None for nothing."""
        self._waiting = [*self._waiting[-_MAX_WAITING:], goal]

    async def take_in(self) -> bool:
        """The newest goal is on disk; whether it is another than before.

        Raises:
            CapacityError: The disk does not take it; it waits for the next call.
        """
        another = False
        while self._waiting:
            goal = self._waiting[0]
            record = self._store.state.record
            if goal is not None and goal.generation < record.seen_generation:
                _log.warning("Ignored assignment %d, older than %d", goal.generation, record.seen_generation)
            elif goal != record.goal:
                _log.info("Assigned: %s", goal.release if goal else "nothing")
                await self._accept(goal)
                another = True
            self._waiting.remove(goal)
        return another

    async def _accept(self, goal: Goal | None) -> None:
        if goal is None:
            await self._store.state.change(goal=None)
            return
        changes: dict[str, Any] = {"goal": goal, "seen_generation": goal.generation}
        installed = Installed(goal.release, goal.max_level)
        active, running = self._store.state.record.active, self._keeper.running
        if active is not None and active.release == goal.release:
            changes |= {"active": installed, "failure": None}
        await self._store.state.change(**changes)
        if running is not None and running.installed.release == goal.release:
            self._keeper.relabel(installed)
