"""Goals on their way out: what the broker retains becomes what the registry wants."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from common.errors import LinkError, NotFoundError
from server.control.goals import goals, no_goals
from server.registry.repository import Registry

_AT_ONCE: Final = 8
_PAUSE_SECONDS: Final = 1.0
_log = logging.getLogger(__name__)


class Announcer:
    """States goals one after the other, apart from whoever changed them.

    Args:
        registry: Holds the truth.
        publish: Has the broker retain a payload on a topic; raises LinkError when it cannot.
    """

    def __init__(self, registry: Registry, publish: Callable[[str, bytes], Awaitable[None]]) -> None:
        self._registry = registry
        self._publish = publish
        self._due: dict[str, None] = {}
        self._wake = asyncio.Event()
        self._stated: dict[str, int] = {}

    def announce(self, device_ids: Iterable[str]) -> None:
        """What is retained for these devices will be what the registry wants; nothing, for forgotten ones."""
        self._due.update(dict.fromkeys(device_ids))
        self._wake.set()

    async def announce_all(self) -> None:
        """As ``announce``, for every enrolled device."""
        devices = await asyncio.to_thread(self._registry.list_devices)
        self.announce(device.device_id for device in devices)

    def stated_generation(self, device_id: str) -> int:
        """The assignment's generation that was stated last; 0 when none was."""
        return self._stated.get(device_id, 0)

    async def run(self) -> None:
        """State what is due until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while some := list(self._due)[:_AT_ONCE]:
                for device_id in some:
                    del self._due[device_id]
                await asyncio.gather(*(self._try_state(device_id) for device_id in some))

    async def _try_state(self, device_id: str) -> None:
        try:
            await self._state(device_id)
        except LinkError as error:
            _log.info("What is wanted of %s waits for the next connection: %s", device_id, error)
        except Exception:  # noqa: BLE001  # whatever it is, the device must get its goals
            _log.exception("What is wanted of %s could not be stated; trying again", device_id)
            await asyncio.sleep(_PAUSE_SECONDS)
            self.announce([device_id])

    async def _state(self, device_id: str) -> None:
        """Publish until the registry wants nothing else, so that the last of several writers is right."""
        stated: dict[str, bytes] | None = None
        while (wanted := await self._wanted(device_id)) != stated:
            for topic, payload in wanted.items():
                await self._publish(topic, payload)
            stated = wanted

    async def _wanted(self, device_id: str) -> dict[str, bytes]:
        try:
            device = await asyncio.to_thread(self._registry.get_device, device_id)
        except NotFoundError:
            self._stated.pop(device_id, None)
            return no_goals(device_id)
        self._stated[device_id] = device.assignment_generation
        return goals(device)
