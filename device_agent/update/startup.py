"""The start: what ran last answers again, from the disk alone, verified; or what ran before it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

from common.errors import CapacityError, Error, ErrorCode, IntegrityError, SelfTestError
from common.manifest import Manifest
from device_agent.blocking import run_blocking
from device_agent.residency.policy import target_levels
from device_agent.store.records import Failure, Installed
from device_agent.store.store import Store
from device_agent.update.attempts import attempt
from device_agent.update.budget import Budget
from device_agent.update.fetch_plan import base_levels, has_base, reachable_levels
from device_agent.update.keeper import Keeper
from device_agent.update.progress import Phase, Progress

# The bytes can be fetched again, the memory can be freed: the version itself is not to blame.
_CURABLE: Final = frozenset({ErrorCode.INTEGRITY.value, ErrorCode.CAPACITY.value})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rung:
    """One way to have something that answers."""

    installed: Installed
    in_full: bool


class Startup:
    """Climbs down from the best to the safest until something answers."""

    def __init__(self, store: Store, keeper: Keeper, budget: Budget, progress: Progress) -> None:
        self._store = store
        self._keeper = keeper
        self._budget = budget
        self._progress = progress

    async def run(self) -> None:
        """Something answers, if anything on the disk can.

        The order: the active version as the budget allows, then at its base, then the previous one in the
        same ways. A version that does not pass its self-test is tried again only after the other one.
        """
        record = self._store.state.record
        versions = [item for item in (record.active, record.previous) if item is not None]
        rungs = [Rung(installed, in_full) for installed in versions for in_full in (True, False)]
        if rungs:
            self._progress.enter(Phase.PROVING)
        while rungs:
            rung = rungs.pop(0)
            error = await self._try(rung)
            if error is None:
                break
            _log.warning("%s does not run: %s", rung.installed.release, error)
            self._progress.blame(rung.installed.release, error)
            if isinstance(error, SelfTestError):
                rungs.sort(key=lambda other, failed=rung.installed: other.installed == failed)  # type: ignore[misc]
        self._progress.enter(Phase.FAILED if self._progress.fault else Phase.IDLE)

    async def _try(self, rung: Rung) -> Error | None:
        """None when the rung holds; rotten blobs are thrown out, and what is left tried once more."""
        error = await self._load(rung)
        if not isinstance(error, IntegrityError) or isinstance(error, SelfTestError):
            return error
        removed = await run_blocking(lambda: self._remove_rotten(rung))
        return await self._load(rung) if removed else error

    def _remove_rotten(self, rung: Rung) -> int:
        manifest = self._store.manifest(rung.installed.release)
        return self._store.remove_rotten(manifest) if manifest else 0

    async def _load(self, rung: Rung) -> Error | None:
        release = rung.installed.release
        try:
            manifest = await run_blocking(lambda: self._store.manifest(release))
            if manifest is None or not has_base(manifest, self._store.blobs.has):
                raise IntegrityError(
                    f"{release} is not whole on the disk.", advice="It comes again when the server is there."
                )
            async with attempt(self._store.state, release, "in full" if rung.in_full else "base"):
                served = await self._keeper.prepare(manifest, self._levels(rung, manifest))
        except Error as error:
            return error
        as_before = rung.installed == self._store.state.record.active
        await self._settle(rung)
        highest_level = 0 if rung.in_full else manifest.levels[0]
        self._keeper.switch(rung.installed, served, highest_level=highest_level)
        if rung.in_full and as_before:
            self._progress.clear()
        return None

    def _levels(self, rung: Rung, manifest: Manifest) -> tuple[int, ...]:
        if not rung.in_full:
            return base_levels(manifest)
        max_level = self._budget.cap(rung.installed.max_level)
        target = target_levels(manifest, budget_bytes=self._budget.bytes, max_level=max_level)
        return reachable_levels(manifest, target, self._store.blobs.has)

    async def _settle(self, rung: Rung) -> None:
        """The record says that the previous version runs, and that the active one failed, if that is so."""
        record = self._store.state.record
        if record.active is None or rung.installed == record.active:
            return
        changes: dict[str, Any] = {"active": rung.installed, "previous": None}
        fault = self._progress.fault
        failed = record.active.release
        rotten = fault is not None and fault.code in _CURABLE
        wanted = record.goal is not None and record.goal.release == failed
        if wanted and fault is not None and fault.release == failed and not rotten:
            changes["failure"] = Failure(record.seen_generation, failed, fault.code, fault.detail)
        try:
            await self._store.state.change(**changes)
        except CapacityError as error:
            _log.warning("The record does not know yet what runs: %s", error)
