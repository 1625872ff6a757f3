"""What becomes of a step that failed: who is to blame, what is given up, and when it is worth another try."""

from __future__ import annotations

import logging
from typing import Final

from common.errors import CapacityError, ConflictError, Error
from device_agent.blocking import run_blocking
from device_agent.link.backoff import Backoff
from device_agent.residency.policy.disk import Holding
from device_agent.store.failures import DiskError
from device_agent.store.records import Failure, Release
from device_agent.store.store import Store
from device_agent.update.activation import Activation
from device_agent.update.allowance import Limit, TransferHold
from device_agent.update.fetch_plan import missing_blobs
from device_agent.update.keeper import Keeper
from device_agent.update.progress import Phase, Progress, fault_of
from device_agent.update.steps import Activate, FetchBlobs, FetchManifest, Refuse, Step, model_of

_FIRST_SECONDS: Final = 15.0
_LONGEST_SECONDS: Final = 600.0
_AT_ONCE: Final = 0.0
_log = logging.getLogger(__name__)


class Faults:
    """Decides after a failure; what runs keeps running in every case.

    Args:
        store: What is on disk.
        keeper: What is in memory.
        activation: Makes room.
        progress: What people see.

    Attributes:
        short: Models for which disk or memory do not suffice just now; the others go on meanwhile.
        room: Waits while disk or memory do not suffice.
    """

    def __init__(self, store: Store, keeper: Keeper, activation: Activation, progress: Progress) -> None:
        self._store = store
        self._keeper = keeper
        self._activation = activation
        self._progress = progress
        self._given_up: dict[str, frozenset[str]] = {}
        self.short: frozenset[str] = frozenset()
        self.room = Backoff(first_seconds=_FIRST_SECONDS, longest_seconds=_LONGEST_SECONDS)

    @property
    def given_up(self) -> frozenset[str]:
        """Blobs, and manifests, that are not asked for again until something changes."""
        return frozenset[str]().union(*self._given_up.values())

    def forgive(self) -> None:
        """Something has changed: what was given up is worth another try."""
        self._given_up = {}
        self._keeper.forgive()

    def all_well(self, model: str) -> None:
        """A step succeeded: no fault of its model is left, unless something of it has been given up."""
        running = self._keeper.running.get(model)
        if not self._given_up.get(model) and (running is None or not running.highest_level):
            self._progress.clear(model)

    async def refuse(self, step: Refuse) -> float:
        """The goal is older than what has been proven; how long to wait before the next step."""
        error = ConflictError(
            f"{step.goal.release} is older than version {step.newest}, which has been proven here.",
            advice="Assign it with --allow-older to go back.",
        )
        return await self.fail(step.goal.release, error)

    async def fail(self, release: Release, error: Error) -> float:
        """The goal is not tried again until the server states one anew; how long to wait."""
        _log.error("%s is not taken: %s", release, error)
        goal = self._store.state.record.slot(release.model).goal
        if goal is None or goal.release != release:
            self._give_up(release, release.manifest_digest)
            self._progress.blame(release, error)
            return _AT_ONCE
        fault = fault_of(release, error)
        failure = Failure(goal.generation, release, fault.code, fault.detail)
        await self._store.state.change_slot(release.model, failure=failure)
        self._progress.clear(release.model)
        return _AT_ONCE

    async def cannot_have(self, step: FetchBlobs, error: Error) -> float:
        """A blob cannot be had: an update fails by it, what runs does without; how long to wait."""
        if step.update:
            return await self.fail(step.release, error)
        missing = missing_blobs(step.manifest, step.stage, self._store.blobs.has)
        self._give_up(step.release, *(item.digest for item, _ in missing))
        self._progress.blame(step.release, error)
        return _AT_ONCE

    async def short_of_room(self, step: Step, error: CapacityError) -> float:
        """Old things go first, the way back last; then other models, and then wait for room: how long."""
        model = model_of(step)
        running = self._keeper.running.get(model)
        release = _release_of(step) or (running.installed.release if running else None)
        if isinstance(step, FetchBlobs) and await self._made_room(step, error):
            return _AT_ONCE
        _log.error("%s", error)
        if release is not None:
            self._progress.blame(release, error)
        self.disk_refuses(error)
        self._progress.enter(Phase.FAILED)
        if not model or model in self.short:
            return self.wait_for_room()
        self.short |= {model}
        return _AT_ONCE

    def wait_for_room(self) -> float:
        """How long to wait before what room was lacking for is tried again."""
        self.short = frozenset()
        return self.room.next_seconds()

    def disk_refuses(self, error: CapacityError) -> None:
        """Where it is the disk that does not suffice, transfers are held back by it."""
        if isinstance(error, DiskError) or error.needed_bytes:
            self._progress.hold_back(TransferHold(Limit.DISK, str(error)))

    def _give_up(self, release: Release, *digests: str) -> None:
        before = self._given_up.get(release.model, frozenset())
        self._given_up[release.model] = before | frozenset(digests)

    async def _made_room(self, step: FetchBlobs, error: CapacityError) -> bool:
        """Whether something went.

        What nobody wants, then shards that are worth less, then the model's own way back, then those of
        others.
        """
        running = self._keeper.running
        ways_back = [{step.release.model}, set(running)] if step.update and running else []
        try:
            if await self._activation.tidy():
                return True
            if error.needed_bytes and await run_blocking(lambda: self._shed(step, error.available_bytes)):
                return True
            for given_up in ways_back:
                if await self._activation.tidy(given_up=given_up):
                    return True
        except CapacityError as second:
            _log.warning("Tidying up fails: %s", second)
        return False

    def _shed(self, step: FetchBlobs, room_bytes: int) -> int:
        """Shards that are worth less than what is to come have gone; bytes freed. Blocking."""
        others = [item for item in self._keeper.running.values() if item.manifest != step.manifest]
        holdings = [Holding(step.manifest, step.target)]
        holdings += [Holding(running.manifest, running.levels) for running in others]
        for slot in self._store.state.record.slots:
            before = self._store.manifest(slot.previous.release) if slot.previous is not None else None
            if before is not None:
                holdings.append(Holding(before))
        missing = missing_blobs(step.manifest, step.stage, self._store.blobs.has)
        needed = {item.digest for item, _ in missing} - self.given_up
        return self._store.shed(holdings, needed, room_bytes)


def _release_of(step: Step) -> Release | None:
    match step:
        case FetchManifest() | FetchBlobs():
            return step.release
        case Activate():
            return step.installed.release
        case Refuse():
            return step.goal.release
    return None
