"""The updater: one loop that asks the state machine for the next step and takes it, for ever."""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Coroutine
from typing import Any, Final

from common.errors import (
    CapacityError,
    ConflictError,
    Error,
    IntegrityError,
    InvalidInputError,
    LinkError,
    NotFoundError,
)
from common.manifest import Manifest
from device_agent.blocking import run_blocking
from device_agent.link.backoff import Backoff
from device_agent.store.records import Goal, Release
from device_agent.store.store import Store
from device_agent.update.activation import Activation
from device_agent.update.allowance import HeldError
from device_agent.update.budget import Budget
from device_agent.update.delta_fetcher import DeltaFetcher
from device_agent.update.demand import Demand
from device_agent.update.faults import Faults
from device_agent.update.fetch_plan import base_levels, has_base, missing_blobs, wanted_blobs
from device_agent.update.fetcher import Plan
from device_agent.update.gate import TransferGate
from device_agent.update.goal_intake import GoalIntake
from device_agent.update.keeper import Keeper
from device_agent.update.machine import next_step
from device_agent.update.paging import Paging
from device_agent.update.progress import Phase, Progress
from device_agent.update.situation import Situation
from device_agent.update.steps import (
    Activate,
    Drop,
    FetchBlobs,
    FetchManifest,
    Hold,
    Page,
    Refuse,
    Share,
    Step,
    Withheld,
)

_AT_ONCE: Final = 0.0
_WHEN_WOKEN: Final = math.inf
# After a hold in mid-transfer, so that a gate that opens and shuts keeps nobody busy.
_HELD_SECONDS: Final = 0.1
_log = logging.getLogger(__name__)


class Updater:
    """Brings the device to its goals and keeps it there.

    Args:
        store: What is on disk.
        keeper: What is in memory.
        fetcher: How bytes come.
        budget: Memory for weights.
        demand: How much each model is asked for.
        gate: What may be transferred.
        progress: What people see.
        backoff: Waits while the server is away.
        on_change: Called when something that is reported has changed.
    """

    def __init__(
        self,
        *,
        store: Store,
        keeper: Keeper,
        fetcher: DeltaFetcher,
        budget: Budget,
        demand: Demand,
        gate: TransferGate,
        progress: Progress,
        backoff: Backoff,
        on_change: Callable[[], None],
    ) -> None:
        self._store = store
        self._keeper = keeper
        self._fetcher = fetcher
        self._budget = budget
        self._demand = demand
        self._gate = gate
        self._progress = progress
        self._backoff = backoff
        self._on_change = on_change
        self._activation = Activation(store, keeper, budget)
        self._faults = Faults(store, keeper, self._activation, progress)
        self._paging = Paging(store, keeper, self._activation, progress)
        self._intake = GoalIntake(store, keeper)
        self._wake = asyncio.Event()
        self._manifests: dict[str, Manifest] = {}
        self._budget_bytes = budget.bytes
        self._ledger_changes = store.ledger.changes
        self._all_heard = True
        self._resting = False

    @property
    def settled(self) -> bool:
        """Whether nothing is to be done before something changes, or a wait is over."""
        return self._resting and not self._wake.is_set()

    def take_goals(self, goals: tuple[Goal, ...]) -> None:
        """The server wants these now; empty for nothing. The newest count, older ones are passed over."""
        self._intake.hand_over(goals)
        self._wake.set()

    def wake(self) -> None:
        """Something outside changed: look again."""
        self._wake.set()

    async def run(self) -> None:
        """Take step after step until cancelled."""
        while True:
            self._wake.clear()
            try:
                wait_seconds = await self._turn()
            except CapacityError as error:
                _log.error("%s", error)
                self._faults.disk_refuses(error)
                wait_seconds = self._faults.room.next_seconds()
            except Exception:  # noqa: BLE001  # what answers must go on answering
                _log.exception("An update step failed in an unforeseen way")
                wait_seconds = self._faults.room.next_seconds()
            self._on_change()
            if wait_seconds:
                await self._rest(wait_seconds)

    async def _turn(self) -> float:
        """Take one step; how long to wait before the next. A full disk keeps no memory from being freed."""
        self._all_heard = await self._heard()
        await self._gate.settle()
        await self._paging.remember_level()
        step = next_step(await self._situation())
        wait_seconds = await self._take(step)
        return wait_seconds if self._all_heard else min(wait_seconds, self._faults.room.next_seconds())

    async def _heard(self) -> bool:
        try:
            await self._hear()
        except CapacityError as error:
            _log.error("What is wanted cannot be noted: %s", error)
            self._faults.disk_refuses(error)
            for goal in self._intake.next_goals:
                self._progress.blame(goal.release, error)
            return False
        return True

    async def _rest(self, wait_seconds: float) -> None:
        self._resting = True
        try:
            async with asyncio.timeout(None if wait_seconds == _WHEN_WOKEN else wait_seconds):
                await self._wake.wait()
        except TimeoutError:
            return
        finally:
            self._resting = False

    async def _hear(self) -> None:
        """The newest goal and limit are on disk, and what was given up is worth another try."""
        another = await self._intake.take_in()
        limits = {"limit_bytes": self._budget.limit_bytes, "transfer_limits": self._gate.operator}
        await self._store.state.change(**limits)
        if another:
            self._gate.look_anew()
            self._progress.clear()
        if another or self._budget.bytes != self._budget_bytes:
            self._budget_bytes = self._budget.bytes
            self._faults.forgive()

    async def _situation(self) -> Situation:
        record = self._store.state.record
        wanted = [
            item.release for slot in record.slots for item in (slot.goal, slot.active) if item is not None
        ]
        self._manifests = await run_blocking(lambda: self._read_manifests(wanted))
        # Of a model's goal and what of it is active, the goal counts where it is here.
        here = filter(self._has_base, reversed(wanted))
        self._progress.downloaded = {release.model: release for release in here}
        return Situation(
            record=record,
            running=self._keeper.running,
            manifest=lambda release: self._manifests.get(release.manifest_digest),
            has=self._store.blobs.has,
            given_up=self._faults.given_up,
            budget_bytes=self._budget.bytes,
            allowance=self._budget.narrow(self._gate.allowance()),
            short=self._faults.short,
            max_level=self._budget.cap(0),
            demand={slot.model: self._demand.of(slot.model) for slot in record.slots},
        )

    def _read_manifests(self, releases: list[Release]) -> dict[str, Manifest]:
        found: dict[str, Manifest] = {}
        for release in releases:
            known = self._manifests.get(release.manifest_digest) or self._store.manifest(release)
            if known is not None:
                found[release.manifest_digest] = known
        return found

    def _has_base(self, release: Release) -> bool:
        manifest = self._manifests.get(release.manifest_digest)
        return manifest is not None and has_base(manifest, self._store.blobs.has)

    async def _take(self, step: Step) -> float:
        """Take the step; how long to wait before the next."""
        try:
            return await self._dispatch(step)
        except LinkError as error:
            _log.info("The server is away: %s", error)
            if self._store.ledger.changes != self._ledger_changes:
                self._backoff.reset()
                self._ledger_changes = self._store.ledger.changes
            self._progress.enter(Phase.WAITING)
            return self._backoff.next_seconds()
        except HeldError as error:
            # Before anybody hears of it: a start that does not know how large chunks are takes one too many.
            await self._gate.settle()
            self._stand_still(Withheld(error.hold))
            return _HELD_SECONDS
        except CapacityError as error:
            return await self._faults.short_of_room(step, error)

    async def _dispatch(self, step: Step) -> float:
        match step:
            case Hold() | Withheld():
                return self._stand_still(step)
            case Refuse():
                return await self._faults.refuse(step)
            case FetchManifest():
                return await self._fetch_manifest(step)
            case FetchBlobs():
                return await self._fetch_blobs(step)
            case Activate():
                return await self._activate(step)
            case Page():
                if await self._paging.page(step):
                    self._faults.all_well(step.model)
            case Share():
                await self._keeper.share(step.model, step.memory_bytes)
            case Drop():
                _log.info("%s is not wanted any more", step.model)
                self._progress.clear(step.model)
                await self._activation.drop(step.model)
        return _AT_ONCE

    def _stand_still(self, step: Hold | Withheld) -> float:
        """Nothing is done until something changes; what runs keeps running."""
        if isinstance(step, Withheld):
            self._progress.hold_back(step.hold)
            self._progress.enter(Phase.WAITING)
            return self._faults.wait_for_room() if self._faults.short else _WHEN_WOKEN
        if self._faults.short:
            self._progress.enter(Phase.FAILED)
            return self._faults.wait_for_room()
        failed = any(slot.failed for slot in self._store.state.record.slots)
        self._activation.settled()
        if self._all_heard:
            self._progress.go_on()
        self._progress.enter(Phase.FAILED if failed or self._progress.faults else Phase.IDLE)
        return _WHEN_WOKEN

    async def _fetch_manifest(self, step: FetchManifest) -> float:
        self._progress.enter(Phase.FETCHING)
        try:
            await self._unless_overtaken(step, self._fetcher.manifest(step.release))
        except (NotFoundError, IntegrityError, InvalidInputError, ConflictError) as error:
            return await self._faults.fail(step.release, error)
        self._backoff.reset()
        return _AT_ONCE

    async def _fetch_blobs(self, step: FetchBlobs) -> float:
        has = self._store.blobs.has
        self._progress.download = {
            item.digest: item.size_bytes for item, _ in wanted_blobs(step.manifest, step.target)
        }
        plan = [
            (item, ref)
            for item, ref in missing_blobs(step.manifest, step.stage, has)
            if item.digest not in self._faults.given_up
        ]
        self._progress.enter(Phase.FETCHING)
        try:
            planned_bytes = await run_blocking(lambda: self._to_come_bytes(plan))
            with self._gate.transfer(planned_bytes, with_shards=step.stage != base_levels(step.manifest)):
                self._progress.gate_opened()
                await self._unless_overtaken(step, self._fetcher.blobs(step.release, plan))
        except (NotFoundError, IntegrityError, InvalidInputError, ConflictError) as error:
            return await self._faults.cannot_have(step, error)
        self._backoff.reset()
        self._faults.room.reset()
        self._faults.all_well(step.release.model)
        self._progress.go_on()
        return _AT_ONCE

    def _to_come_bytes(self, plan: Plan) -> int:
        size_bytes = self._store.blobs.size_bytes
        return sum(max(0, ref.size_bytes - size_bytes(ref.digest)) for _, ref in plan)

    async def _unless_overtaken(self, step: Step, work: Coroutine[Any, Any, object]) -> None:
        """Do the work, but drop it when what happens meanwhile asks for another step."""
        task = asyncio.create_task(work)
        try:
            while not task.done():
                waking = asyncio.create_task(self._wake.wait())
                await asyncio.wait({task, waking}, return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
                if task.done():
                    break
                self._wake.clear()
                await self._heard()
                if next_step(await self._situation()) != step:
                    return
            task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _activate(self, step: Activate) -> float:
        self._progress.enter(Phase.PROVING)
        release = step.installed.release
        try:
            await self._activation.activate(step)
        except CapacityError:
            raise
        except Error as error:
            return await self._faults.fail(release, error)
        running = self._keeper.running.get(release.model)
        if running is not None and running.installed.release == release:
            _log.info("%s runs", release)
            self._progress.clear(release.model)
            await self._paging.remember_level()
            self._on_change()
            await self._activation.tidy()
        return _AT_ONCE
