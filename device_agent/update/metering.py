"""Metering: what crosses the sockets, into the ledger, often enough that little is lost."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from common.clock import Clock
from common.errors import Error
from device_agent.blocking import run_blocking
from device_agent.link.socket_meter import SocketMeter
from device_agent.store.overhead import NO_VERSION
from device_agent.store.records import AgentRecord
from device_agent.store.store import Store

_LOOK_SECONDS: Final = 0.25
# While a transfer is under way, any connection may break, and what crossed it since the last look is missed.
_GLANCES: Final = 50
# Glances take no more than this share of a core.
_MOST_TIME: Final = 0.02
# A kill loses the overhead since the last commit, and a commit is a write that wears flash.
_COMMIT_SECONDS: Final = 30.0
_COMMIT_MUCH_SECONDS: Final = 2.0
_MUCH_BYTES: Final = 16 * 1024
_log = logging.getLogger(__name__)


class Metering:
    """Looks at the meter and notes what it sees.

    Args:
        meter: Counts.
        store: Has the ledger, and knows what the device works on.
        clock: Tells when to look.
        at_rest: Whether no transfer is under way.
    """

    def __init__(
        self, meter: SocketMeter, store: Store, clock: Clock, *, at_rest: Callable[[], bool]
    ) -> None:
        self._meter = meter
        self._store = store
        self._clock = clock
        self._at_rest = at_rest
        self._next_glance_seconds = 0.0
        self._durable_seconds = clock.monotonic_seconds()
        self._durable_bytes = 0

    @property
    def measured(self) -> bool:
        """Whether overhead is measured; else it is an estimate."""
        return self._meter.measured

    def glance(self) -> None:
        """Something came: what brought it is counted, should the connection break the next moment.

        Cheap enough for every chunk.
        """
        if self._clock.monotonic_seconds() < self._next_glance_seconds:
            return
        started_seconds = time.perf_counter()
        self._meter.crossed_bytes()
        cost_seconds = time.perf_counter() - started_seconds
        self._next_glance_seconds = self._clock.monotonic_seconds() + cost_seconds / _MOST_TIME

    def published(self, size_bytes: int) -> None:
        """A message of this size went to the broker."""
        self._meter.published(size_bytes)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            for _ in range(_GLANCES):
                await asyncio.sleep(_LOOK_SECONDS / _GLANCES)
                if self._at_rest():
                    await asyncio.sleep(_LOOK_SECONDS)
                    break
                self.glance()

    async def look(self) -> None:
        """What crossed so far is noted, if the disk takes it."""
        try:
            await run_blocking(self.note)
        except Error as error:
            _log.warning("Overhead could not be noted: %s", error)

    def note(self) -> None:
        """The ledger has what crossed so far.

        Raises:
            CapacityError: The disk does not take it; the next time makes up for it.
        """
        rested = self._at_rest()
        crossed_bytes = self._meter.crossed_bytes()
        # Asked again: what a transfer that began meanwhile has brought is no overhead.
        settled = rested and self._at_rest()
        self._store.ledger.cross(crossed_bytes, worked_on(self._store.state.record), settled=settled)
        self._commit_now_and_then(crossed_bytes)

    def _commit_now_and_then(self, crossed_bytes: int) -> None:
        waiting_bytes = crossed_bytes - self._durable_bytes
        waited_seconds = self._clock.monotonic_seconds() - self._durable_seconds
        patience_seconds = _COMMIT_SECONDS if waiting_bytes < _MUCH_BYTES else _COMMIT_MUCH_SECONDS
        if waiting_bytes and waited_seconds >= patience_seconds:
            self._durable_seconds += waited_seconds
            self._store.settle()
            self._durable_bytes += waiting_bytes


def worked_on(record: AgentRecord) -> tuple[str, int]:
    """The version that bytes are moved for: the first wanted one that does not run, else what is there."""
    ahead = [
        slot.goal
        for slot in record.slots
        if slot.goal is not None
        and not slot.failed
        and (slot.active is None or slot.active.release != slot.goal.release)
    ]
    here = [slot.goal or slot.active for slot in record.slots]
    wanted = next((item for item in (*ahead, *here) if item is not None), None)
    return (wanted.release.model, wanted.release.version) if wanted else NO_VERSION
