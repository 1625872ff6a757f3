"""Activation: load and prove beside what runs, put the switch on disk, switch, tidy up; or go back."""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import replace
from typing import Final

from common.errors import CapacityError, Error, IntegrityError, SelfTestError
from device_agent.blocking import run_blocking
from device_agent.residency.policy import target_levels, total_bytes
from device_agent.store.records import AgentRecord, Failure, Installed, Release, Slot
from device_agent.store.store import Store
from device_agent.update.attempts import attempt
from device_agent.update.budget import Budget
from device_agent.update.fetch_plan import base_levels, has_base, reachable_levels
from device_agent.update.keeper import Keeper
from device_agent.update.progress import fault_of
from device_agent.update.served import Served
from device_agent.update.steps import Activate

_REPAIRS: Final = 2
_log = logging.getLogger(__name__)


class Activation:
    """Moves the pointers that say what runs."""

    def __init__(self, store: Store, keeper: Keeper, budget: Budget) -> None:
        self._store = store
        self._keeper = keeper
        self._budget = budget
        self._repairs: dict[str, int] = {}
        self._on_trial: dict[str, Release] = {}

    async def activate(self, step: Activate) -> None:
        """The version runs, and the record says so; or blobs that have rotted are gone, to be fetched again.

        Nothing that ran before has changed when this fails, but for its levels.

        Raises:
            SelfTestError: The version does not answer as it should.
            IntegrityError: The version contradicts itself, or blobs rot as fast as they come.
            UnsupportedModelError: The graph needs what this agent does not have.
            CapacityError: Memory or disk do not suffice.
            Error: Anything else.
        """
        for model, levels in step.room:
            await self._keeper.page(model, levels)
        await self._make_lean()
        try:
            async with attempt(self._store.state, step.installed.release, "update"):
                served = await self._keeper.prepare(step.manifest, step.levels)
        except SelfTestError:
            raise
        except IntegrityError:
            if await self._repaired(step):
                return
            raise
        await self._commit(step.installed, served)
        release = step.installed.release
        self._on_trial.pop(release.model, None)
        if step.room:
            self._on_trial[release.model] = release

    def settled(self) -> None:
        """All levels that the versions will run at are proven: none is on trial any more."""
        self._on_trial.clear()

    async def go_back(self, model: str, error: Error) -> bool:
        """The previous version runs again, when the one that runs came just now and fails at a higher level.

        Returns:
            Whether it does; if not, everything is as before.
        """
        record = self._store.state.record
        running, previous = self._keeper.running[model], record.slot(model).previous
        if previous is None or running.installed.release != self._on_trial.get(model):
            return False
        manifest = await run_blocking(lambda: self._store.manifest(previous.release))
        if manifest is None or not has_base(manifest, self._store.blobs.has):
            return False
        await self._keeper.page(model, base_levels(running.manifest))
        await self._make_lean()
        spare_bytes = self._budget.bytes - self._taken_bytes()
        max_level = self._budget.cap(previous.max_level)
        target = target_levels(manifest, budget_bytes=spare_bytes, max_level=max_level)
        try:
            levels = reachable_levels(manifest, target, self._store.blobs.has)
            served = await self._keeper.prepare(manifest, levels)
        except Error as second:
            _log.warning("Going back to %s fails too: %s", previous.release, second)
            return False
        fault = fault_of(running.installed.release, error)
        failure = Failure(record.seen_generation, fault.release, fault.code, fault.detail)
        await self._store.state.change_slot(model, active=previous, previous=None, failure=failure)
        self._keeper.switch(previous, served)
        del self._on_trial[model]
        return True

    async def drop(self, model: str) -> None:
        """A model that is not wanted any more answers no longer; what of it ran stays on disk for a while.

        It goes from the disk as a replaced version does: once an assignment has come after the one that did
        without it, and took effect; or where room is short.
        """
        self._keeper.drop(model)
        self._on_trial.pop(model, None)
        try:
            await self._store.state.change_slot(model, previous=None)
            await self.tidy()
        except CapacityError as error:
            _log.warning("Tidying up after %s fails: %s", model, error)

    async def tidy(self, *, given_up: Collection[str] = ()) -> int:
        """Only what runs, what ran before and what is wanted stays on disk; bytes freed.

        Args:
            given_up: Models whose way back goes, where room for a goal is short, and with it all that was
                wanted before and does not run.
        """
        if given_up:
            running = self._keeper.running
            slots = tuple(
                replace(slot, previous=None) if slot.model in given_up else slot
                for slot in self._store.state.record.slots
                if slot.model in running or slot.goal is not None
            )
            await self._store.state.change(slots=slots)
        return await run_blocking(lambda: self._store.keep_only(self._kept(self._store.state.record)))

    async def _commit(self, installed: Installed, served: Served) -> None:
        """Disk first: after a kill between the two, the start finds a version that is proven."""
        record = self._store.state.record
        release = installed.release
        newest = dict(record.newest_proven)
        newest[release.model] = max(release.version, newest.get(release.model, 0))
        slot = record.slot(release.model)
        slot = replace(slot, active=installed, previous=_way_back(slot, release), failure=None)
        await self._store.state.change(slots=record.with_slot(slot), newest_proven=newest)
        self._keeper.switch(installed, served)
        self._repairs.pop(release.manifest_digest, None)

    async def _repaired(self, step: Activate) -> bool:
        """Whether blobs that have rotted are gone, and fetching them again is worth a try."""
        digest = step.installed.release.manifest_digest
        self._repairs[digest] = self._repairs.get(digest, 0) + 1
        removed = await run_blocking(lambda: self._store.remove_rotten(step.manifest))
        return removed > 0 and self._repairs[digest] <= _REPAIRS

    def _kept(self, record: AgentRecord) -> list[Release]:
        kept = [item.release for slot in record.slots for item in slot.installed]
        goals = [goal.release for goal in record.goals]
        return kept + [release for release in goals if self._store.manifest(release) is not None]

    async def _make_lean(self) -> None:
        """What runs takes no more than its levels need, while another version is in memory beside it."""
        for model, running in self._keeper.running.items():
            await self._keeper.share(model, total_bytes(running.manifest, running.levels))

    def _taken_bytes(self) -> int:
        running = self._keeper.running.values()
        return sum(total_bytes(item.manifest, item.levels) for item in running)


def _way_back(slot: Slot, release: Release) -> Installed | None:
    """What to return to from a release: what of its model ran before it."""
    for installed in slot.installed:
        if installed.release.manifest_digest != release.manifest_digest:
            return installed
    return None
