"""Enrolment: the device makes itself known, at the start and whenever the broker could not be reached."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from common.errors import ConflictError, Error
from device_agent.link.backoff import Backoff
from device_agent.link.server import ServerLink
from device_agent.store.records import Broker
from device_agent.store.state_file import StateFile

_REFUSED_SECONDS: Final = 300.0
_log = logging.getLogger(__name__)


class Enrolment:
    """Tries until it succeeds, each time it is asked to.

    Args:
        server: Who is asked.
        state: Has the key; keeps the answer, so that the broker is found with the server away.
        backoff: Waits between two tries.
        on_enrolled: Called with the answer.
        on_refused: Called when another device holds the id.
    """

    def __init__(
        self,
        server: ServerLink,
        state: StateFile,
        backoff: Backoff,
        *,
        on_enrolled: Callable[[Broker], None],
        on_refused: Callable[[ConflictError], None],
    ) -> None:
        self._server = server
        self._state = state
        self._backoff = backoff
        self._on_enrolled = on_enrolled
        self._on_refused = on_refused
        self._asked = asyncio.Event()
        self._asked.set()

    def ask(self) -> None:
        """Enrol again: the broker may have moved, or the server forgotten everything."""
        self._asked.set()

    async def run(self) -> None:
        """Serve until cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            wait_seconds = await self._try()
            if wait_seconds:
                self._asked.set()
                await asyncio.sleep(wait_seconds)

    async def _try(self) -> float:
        """0 once it is done, else how long to wait before the next try."""
        record = self._state.record
        try:
            broker = await self._server.enrol(record.device_id, bytes.fromhex(record.enrolment_key))
            await self._state.change(broker=broker)
        except ConflictError as error:
            self._on_refused(error)
            return _REFUSED_SECONDS
        except Error as error:
            wait_seconds = self._backoff.next_seconds()
            _log.warning("Not enrolled: %s Next try in %.1f s.", error, wait_seconds)
            return wait_seconds
        self._backoff.reset()
        self._on_enrolled(broker)
        return 0.0
