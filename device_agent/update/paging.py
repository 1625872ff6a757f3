"""Paging what runs: to the levels that the memory allows, each proven before it counts."""

from __future__ import annotations

import functools
import logging

from common.errors import CapacityError, Error, IntegrityError, SelfTestError
from device_agent.blocking import run_blocking
from device_agent.residency.policy import lowest_level
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.activation import Activation
from device_agent.update.keeper import Keeper
from device_agent.update.progress import Progress
from device_agent.update.situation import Running
from device_agent.update.steps import Page

_log = logging.getLogger(__name__)


class Paging:
    """Takes the state machine's ``Page`` steps."""

    def __init__(self, store: Store, keeper: Keeper, activation: Activation, progress: Progress) -> None:
        self._store = store
        self._keeper = keeper
        self._activation = activation
        self._progress = progress

    async def page(self, step: Page) -> bool:
        """Whether what runs is at the step's levels, and passed its self-test there.

        If not, it is whole all the same: at its old levels, or at those that its disk allows, or what ran
        before runs again.

        Raises:
            CapacityError: The memory does not suffice.
        """
        running = self._keeper.running[step.model]
        try:
            await self._keeper.page(step.model, step.levels)
            await self._keeper.prove(step.model)
        except SelfTestError as error:
            await self._level_failed(running, error)
        except IntegrityError as error:
            if not await run_blocking(lambda: self._store.remove_rotten(running.manifest)):
                self._stay_below(running)
                self._progress.blame(running.installed.release, error)
        else:
            return True
        return False

    async def remember_level(self) -> None:
        """The ledger knows the level at which each version runs, unless the disk is full."""
        reached = [(item.name, item.version, item.level) for item in self._keeper.served.values()]
        try:
            for name, version, level in reached:
                await run_blocking(functools.partial(self._store.ledger.reach, name, version, level))
        except CapacityError as error:
            _log.warning("A level is not recorded yet: %s", error)

    async def _level_failed(self, before: Running, error: Error) -> None:
        """A level that does not pass is not used, unless the memory leaves no other."""
        release: Release = before.installed.release
        _log.error("%s: %s", release, error)
        now = self._keeper.running[release.model]
        rose = any(new > old for new, old in zip(now.levels, before.levels, strict=True))
        if rose and await self._activation.go_back(release.model, error):
            return
        if rose:
            await self._keeper.page(release.model, before.levels)
            self._stay_below(before)
        self._progress.blame(release, error)

    def _stay_below(self, before: Running) -> None:
        model = before.installed.release.model
        self._keeper.stay_below(model, lowest_level(before.manifest, before.levels))
