"""Reporting: state and ledger to the control plane on every change, but not more often than anybody needs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from common.clock import Clock
from common.errors import Error
from common.topics import Topic
from device_agent.blocking import run_blocking
from device_agent.link.control import ControlLink
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.overhead_pace import OverheadPace
from device_agent.update.progress import Phase
from device_agent.update.report_messages import ledger_message, state_message
from device_agent.update.status import Status

_SHORTEST_SECONDS: Final = 0.2
_LEDGER_SECONDS: Final = 2.0
_log = logging.getLogger(__name__)


class Reporter:
    """Publishes what has changed.

    Args:
        control: Where reports go.
        store: Has the ledger.
        clock: Stamps the reports.
        take: The state at this moment; called in a thread.
        heartbeat_seconds: A report goes out at least so often.
        on_published: Called with the size of every report.
    """

    def __init__(
        self,
        control: ControlLink,
        store: Store,
        clock: Clock,
        *,
        take: Callable[[], Status],
        heartbeat_seconds: float,
        on_published: Callable[[int], None],
    ) -> None:
        self._control = control
        self._store = store
        self._clock = clock
        self._take = take
        self._heartbeat_seconds = heartbeat_seconds
        self._on_published = on_published
        self._changed = asyncio.Event()
        self._pace = OverheadPace()
        self._ledger_changes = -1
        self._ledger_at_seconds = 0.0
        self._last: Status | None = None

    def changed(self) -> None:
        """Something that is reported has changed."""
        self._changed.set()

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            try:
                await self.report()
            except Error as error:
                _log.warning("The state could not be reported: %s", error)
            await asyncio.sleep(_SHORTEST_SECONDS)
            await self._rest()

    async def report(self) -> None:
        """What is true now is on its way; the ledger before a state that relies on it."""
        self._changed.clear()
        status = await run_blocking(self._take)
        changes = self._store.ledger.changes
        if changes != self._ledger_changes and self._ledger_is_due(status):
            self._ledger_changes = changes
            await self._report_ledger(alone=False)
        self._last = status
        message = state_message(status, self._clock.unix_ms())
        self._publish(Topic.STATE, message.SerializeToString())

    async def _rest(self) -> None:
        """Until something changed, or the heartbeat is due; overhead is reported meanwhile."""
        until_seconds = self._clock.monotonic_seconds() + self._heartbeat_seconds
        while (now_seconds := self._clock.monotonic_seconds()) < until_seconds:
            wait_seconds = min(until_seconds - now_seconds, self._pace.left_seconds(now_seconds))
            try:
                async with asyncio.timeout(wait_seconds):
                    await self._changed.wait()
            except TimeoutError:
                await self._report_overhead()
            else:
                return

    async def _report_overhead(self) -> None:
        if not self._pace.look(self._clock.monotonic_seconds()):
            return
        try:
            if self._pace.is_news(await run_blocking(self._store.ledger.overhead_bytes)):
                await self._report_ledger(alone=True)
        except Error as error:
            _log.warning("Overhead could not be reported: %s", error)

    async def _report_ledger(self, *, alone: bool) -> None:
        self._ledger_at_seconds = self._clock.monotonic_seconds()
        payload, overhead_bytes = await run_blocking(self._ledger)
        self._pace.reported(overhead_bytes, self._ledger_at_seconds, alone=alone)
        self._publish(Topic.LEDGER, payload)

    def _publish(self, topic: Topic, payload: bytes) -> None:
        self._control.publish(topic, payload)
        self._on_published(len(payload))

    def _ledger(self) -> tuple[bytes, int]:
        """The report, and the overhead that was known before it."""
        ledger = self._store.ledger
        overhead_bytes = ledger.overhead_bytes()
        device_id = self._store.state.record.device_id
        message = ledger_message(
            device_id, ledger.ledger_id, ledger.totals(), ledger.reached(), self._clock.unix_ms()
        )
        return message.SerializeToString(), overhead_bytes

    def _ledger_is_due(self, status: Status) -> bool:
        """Not with every chunk; but whenever the state says that a version or a level is there."""
        last = self._last
        if status.phase is not Phase.FETCHING or last is None:
            return True
        if _loaded(last) != _loaded(status):
            return True
        return self._clock.monotonic_seconds() - self._ledger_at_seconds >= _LEDGER_SECONDS


def _loaded(status: Status) -> list[tuple[Release | None, str]]:
    """What answers, and from which codes."""
    return [(model.proven, model.loaded_digest) for model in status.models]
