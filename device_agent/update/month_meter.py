"""The month's bytes as a device counts them: its ledger's, and what came since the ledger was asked."""

from __future__ import annotations

import logging
from dataclasses import replace

from common.clock import Clock
from common.errors import CapacityError, Error
from device_agent.blocking import run_blocking
from device_agent.store.records import Traffic
from device_agent.store.store import Store
from device_agent.update.month import begun, counted

_log = logging.getLogger(__name__)


class MonthMeter:
    """Counts on the event loop; never less than the ledger says, and for a moment up to a chunk more.

    Between two looks at the ledger, bytes are counted as they come. A kill loses none: the record says how
    far the ledger had been counted, and the ledger is exact after any kill.

    Args:
        store: Has the ledger and the record.
        clock: Says which month it is.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._since_bytes = 0
        self._changes = -1
        self._ledger_bytes = _ledger_bytes(store)
        ledger_id = store.ledger.ledger_id
        known = store.state.record.traffic
        self._traffic = known or begun(ledger_id, self._ledger_bytes, clock.unix_ms())

    def bytes(self) -> int:
        """Bytes of all kinds in the month that the clock shows."""
        return self._now().months[-1].count_bytes + self._since_bytes

    @property
    def chunk_bytes(self) -> int:
        """The largest piece in which bytes have come so far, in earlier processes too."""
        return self._traffic.chunk_bytes

    def received(self, count_bytes: int) -> None:
        """Bytes came just now."""
        self._since_bytes += count_bytes
        if count_bytes > self._traffic.chunk_bytes:
            self._traffic = replace(self._traffic, chunk_bytes=count_bytes)

    async def look(self) -> None:
        """The ledger's word counts; what it does not know is on disk, if the disk takes it."""
        await self._ask_ledger()
        if _beside_ledger(self._traffic) != _beside_ledger(self._store.state.record.traffic):
            await self._write()

    async def settle(self) -> None:
        """As ``look``, and the count is on disk too."""
        await self._ask_ledger()
        if self._traffic != self._store.state.record.traffic:
            await self._write()

    async def _ask_ledger(self) -> None:
        since_bytes, changes = self._since_bytes, self._store.ledger.changes
        if since_bytes or changes != self._changes:
            try:
                self._ledger_bytes = await run_blocking(lambda: _ledger_bytes(self._store))
            except Error as error:
                _log.warning("The ledger does not say what it counted: %s", error)
                return
            self._since_bytes -= since_bytes
            self._changes = changes
        self._traffic = self._now()

    def _now(self) -> Traffic:
        return counted(self._traffic, self._store.ledger.ledger_id, self._ledger_bytes, self._clock.unix_ms())

    async def _write(self) -> None:
        """A full disk keeps the count in memory, where it is as good until the process ends."""
        try:
            await self._store.state.change(traffic=self._traffic)
        except CapacityError as error:
            _log.warning("The month's count is not on disk yet: %s", error)


def _beside_ledger(traffic: Traffic | None) -> tuple[list[int], int]:
    """What no ledger tells after a kill: the months that were shown, and how large chunks are."""
    return ([item.month for item in traffic.months], traffic.chunk_bytes) if traffic else ([], 0)


def _ledger_bytes(store: Store) -> int:
    return store.ledger.total_bytes()
