"""Activation: load and prove beside what runs, put the switch on disk, switch, tidy up; or go back."""

from __future__ import annotations

import logging
from typing import Final

from common.errors import Error, IntegrityError, SelfTestError
from device_agent.blocking import run_blocking
from device_agent.residency.policy import target_levels, total_bytes
from device_agent.store.records import AgentRecord, Failure, Installed, Release
from device_agent.store.store import Store
from device_agent.update.attempts import attempt
from device_agent.update.budget import Budget
from device_agent.update.fetch_plan import base_levels, has_base, reachable_levels
from device_agent.update.keeper import Keeper
from device_agent.update.machine import Activate
from device_agent.update.progress import fault_of
from device_agent.update.served import Served

_REPAIRS: Final = 2
_log = logging.getLogger(__name__)


class Activation:
    """Moves the one pointer that says what runs."""

    def __init__(self, store: Store, keeper: Keeper, budget: Budget) -> None:
        self._store = store
        self._keeper = keeper
        self._budget = budget
        self._repairs: dict[str, int] = {}
        self._on_trial: Release | None = None

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
        running = self._keeper.running
        if step.make_room and running is not None:
            await self._keeper.page(base_levels(running.manifest))
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
        self._on_trial = step.installed.release if step.make_room else None

    def settled(self) -> None:
        """All levels that the version will run at are proven: it is on trial no more."""
        self._on_trial = None

    async def go_back(self, error: Error) -> bool:
        """The previous version runs again, when the one that runs came just now and fails at a higher level.

        Returns:
            Whether it does; if not, everything is as before.
        """
        record = self._store.state.record
        running, previous = self._keeper.running, record.previous
        if running is None or previous is None or running.installed.release != self._on_trial:
            return False
        manifest = await run_blocking(lambda: self._store.manifest(previous.release))
        if manifest is None or not has_base(manifest, self._store.blobs.has):
            return False
        await self._keeper.page(base_levels(running.manifest))
        spare_bytes = self._budget.bytes - total_bytes(running.manifest, base_levels(running.manifest))
        target = target_levels(manifest, budget_bytes=spare_bytes, max_level=previous.max_level)
        try:
            levels = reachable_levels(manifest, target, self._store.blobs.has)
            served = await self._keeper.prepare(manifest, levels)
        except Error as second:
            _log.warning("Going back to %s fails too: %s", previous.release, second)
            return False
        fault = fault_of(running.installed.release, error)
        failure = Failure(record.seen_generation, fault.release, fault.code, fault.detail)
        await self._store.state.change(active=previous, previous=None, failure=failure)
        self._keeper.switch(previous, served)
        self._on_trial = None
        return True

    async def tidy(self, *, keep_previous: bool = True) -> int:
        """Only what runs, what ran before and what is wanted stays on disk; bytes freed.

        Args:
            keep_previous: False gives up the way back, where room for the goal is short.
        """
        if not keep_previous and self._keeper.running is not None:
            await self._store.state.change(previous=None)
        return await run_blocking(lambda: self._store.keep_only(self._kept(self._store.state.record)))

    async def _commit(self, installed: Installed, served: Served) -> None:
        """Disk first: after a kill between the two, the start finds a version that is proven."""
        record = self._store.state.record
        release = installed.release
        newest = dict(record.newest_proven)
        newest[release.model] = max(release.version, newest.get(release.model, 0))
        await self._store.state.change(
            active=installed,
            previous=_way_back(record, release),
            newest_proven=newest,
            failure=None,
        )
        self._keeper.switch(installed, served)
        self._repairs.pop(release.manifest_digest, None)

    async def _repaired(self, step: Activate) -> bool:
        """Whether blobs that have rotted are gone, and fetching them again is worth a try."""
        digest = step.installed.release.manifest_digest
        self._repairs[digest] = self._repairs.get(digest, 0) + 1
        removed = await run_blocking(lambda: self._store.remove_rotten(step.manifest))
        return removed > 0 and self._repairs[digest] <= _REPAIRS

    def _kept(self, record: AgentRecord) -> list[Release]:
        kept = [item.release for item in (record.active, record.previous) if item is not None]
        if record.goal is not None and self._store.manifest(record.goal.release) is not None:
            kept.append(record.goal.release)
        return kept


def _way_back(record: AgentRecord, release: Release) -> Installed | None:
    """What to return to from a release: what ran before it."""
    for installed in (record.active, record.previous):
        if installed is not None and installed.release.manifest_digest != release.manifest_digest:
            return installed
    return None
