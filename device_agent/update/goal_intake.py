"""Goals as they come in: the newest counts, and it is on disk before anything is done about it."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from device_agent.store.records import Goal, Installed, Slot
from device_agent.store.store import Store
from device_agent.update.keeper import Keeper

_MAX_WAITING: Final = 8
_log = logging.getLogger(__name__)


class GoalIntake:
    """Between the control link, which only hands over, and the updater, which has the time to write."""

    def __init__(self, store: Store, keeper: Keeper) -> None:
        self._store = store
        self._keeper = keeper
        self._waiting: list[tuple[Goal, ...]] = []

    @property
    def next_goals(self) -> tuple[Goal, ...]:
        """The oldest goals that are not taken in yet; empty where there are none, or none are to be had."""
        return self._waiting[0] if self._waiting else ()

    def hand_over(self, goals: tuple[Goal, ...]) -> None:
        """The server wants these now, one of each model, all of one assignment; empty for nothing."""
        self._waiting = [*self._waiting[-_MAX_WAITING:], goals]

    async def take_in(self) -> bool:
        """The newest goals are on disk; whether they are others than before.

        Raises:
            CapacityError: The disk does not take them; they wait for the next call.
        """
        another = False
        while self._waiting:
            goals = self._waiting[0]
            record = self._store.state.record
            generation = max((goal.generation for goal in goals), default=record.seen_generation)
            if generation < record.seen_generation:
                _log.warning("Ignored assignment %d, older than %d", generation, record.seen_generation)
            elif goals != record.goals:
                _log.info("Assigned: %s", ", ".join(str(goal.release) for goal in goals) or "nothing")
                await self._accept(goals, generation)
                another = True
            self._waiting.remove(goals)
        return another

    async def _accept(self, goals: tuple[Goal, ...], generation: int) -> None:
        running = self._keeper.running
        slots = restated(self._store.state.record.slots, goals, running)
        await self._store.state.change(slots=slots, seen_generation=generation)
        for goal in goals:
            now = running.get(goal.release.model)
            if now is not None and now.installed.release == goal.release:
                self._keeper.relabel(Installed(goal.release, goal.max_level))


def restated(slots: Sequence[Slot], goals: Sequence[Goal], running: Collection[str]) -> tuple[Slot, ...]:
    """The slots under other goals: those that are wanted first, in the order of the goals.

    A model that is not wanted any more keeps its slot, and with it its blobs, until the next assignment; with
    nothing assigned at all, everything stays as it was.
    """
    known = {slot.model: slot for slot in slots}
    wanted = [_stated(known.get(goal.release.model, Slot(goal.release.model)), goal) for goal in goals]
    models = {slot.model for slot in wanted}
    others = [
        replace(slot, goal=None, failure=None)
        for slot in slots
        if slot.model not in models
        and slot.active is not None
        and (slot.goal is not None or slot.model in running or not goals)
    ]
    return (*wanted, *others)


def _stated(slot: Slot, goal: Goal) -> Slot:
    if slot.active is not None and slot.active.release == goal.release:
        return replace(slot, goal=goal, active=Installed(goal.release, goal.max_level), failure=None)
    failure = slot.failure
    if slot.failed and failure is not None and slot.goal is not None and goal.restates(slot.goal):
        # Others were assigned beside it; that is no reason to try again what failed.
        return replace(slot, goal=goal, failure=replace(failure, generation=goal.generation))
    return replace(slot, goal=goal)
