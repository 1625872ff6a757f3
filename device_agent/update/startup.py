"""The start: what ran last answers again, from the disk alone, verified; or what ran before it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from common.errors import CapacityError, Error, ErrorCode, IntegrityError, SelfTestError
from common.manifest import Manifest
from device_agent.blocking import run_blocking
from device_agent.residency.policy import Want, joint_targets
from device_agent.store.records import Failure, Installed, Slot
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
    """One way to have something of a model that answers."""

    installed: Installed
    in_full: bool


class Startup:
    """Climbs down from the best to the safest until something answers: for each model by itself."""

    def __init__(self, store: Store, keeper: Keeper, budget: Budget, progress: Progress) -> None:
        self._store = store
        self._keeper = keeper
        self._budget = budget
        self._progress = progress
        self._beside: dict[str, Want] = {}

    async def run(self) -> None:
        """Of each model that is wanted something answers, if anything of it on the disk can.

        The order for a model: the active version as the budget allows, then at its base, then the previous
        one in the same ways. A version that does not pass its self-test is tried again only after the other
        one. A model whose loading ended the process comes after the others. Where nothing that is wanted
        answers, what was wanted before does.
        """
        slots = [slot for slot in self._store.state.record.slots if slot.active is not None]
        slots.sort(key=lambda slot: slot.attempt is not None)
        if slots:
            self._progress.enter(Phase.PROVING)
        for wanted in (True, False):
            group = [slot for slot in slots if (slot.goal is not None) is wanted]
            if group and not self._keeper.running:
                self._beside = await run_blocking(lambda group=group: self._wants(group))  # type: ignore[misc]
                for slot in group:
                    await self._climb(slot)
        self._progress.enter(Phase.FAILED if self._progress.faults else Phase.IDLE)

    async def _climb(self, slot: Slot) -> None:
        rungs = [Rung(installed, in_full) for installed in slot.installed for in_full in (True, False)]
        while rungs:
            rung = rungs.pop(0)
            error = await self._try(rung)
            if error is None:
                return
            _log.warning("%s does not run: %s", rung.installed.release, error)
            self._progress.blame(rung.installed.release, error)
            if isinstance(error, SelfTestError):
                rungs.sort(key=lambda other, failed=rung.installed: other.installed == failed)  # type: ignore[misc]
        self._beside.pop(slot.model, None)

    def _wants(self, slots: Sequence[Slot]) -> dict[str, Want]:
        """Model to what shall run of it, in the record's order, as far as it is on the disk."""
        wants: dict[str, Want] = {}
        for slot in self._store.state.record.slots:
            if slot in slots and slot.active is not None:
                manifest = self._store.manifest(slot.active.release)
                if manifest is not None:
                    wants[slot.model] = Want(manifest, slot.active.max_level)
        return wants

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
        as_before = rung.installed == self._store.state.record.slot(release.model).active
        await self._settle(rung)
        highest_level = 0 if rung.in_full else manifest.levels[0]
        self._keeper.switch(rung.installed, served, highest_level=highest_level)
        if rung.in_full and as_before:
            self._progress.clear(release.model)
        return None

    def _levels(self, rung: Rung, manifest: Manifest) -> tuple[int, ...]:
        if not rung.in_full:
            return base_levels(manifest)
        model = rung.installed.release.model
        wants = {**self._beside, model: Want(manifest, rung.installed.max_level)}
        capped = [replace(want, max_level=self._budget.cap(want.max_level)) for want in wants.values()]
        targets = joint_targets(capped, self._budget.bytes)
        return reachable_levels(manifest, targets[list(wants).index(model)], self._store.blobs.has)

    async def _settle(self, rung: Rung) -> None:
        """The record says that the previous version runs, and that the active one failed, if that is so."""
        record = self._store.state.record
        model = rung.installed.release.model
        slot = record.slot(model)
        if slot.active is None or rung.installed == slot.active:
            return
        changes: dict[str, Any] = {"active": rung.installed, "previous": None}
        fault = self._progress.faults.get(model)
        failed = slot.active.release
        rotten = fault is not None and fault.code in _CURABLE
        wanted = slot.goal is not None and slot.goal.release == failed
        if wanted and fault is not None and fault.release == failed and not rotten:
            changes["failure"] = Failure(record.seen_generation, failed, fault.code, fault.detail)
        try:
            await self._store.state.change_slot(model, **changes)
        except CapacityError as error:
            _log.warning("The record does not know yet what runs: %s", error)
