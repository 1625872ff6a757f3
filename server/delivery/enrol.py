"""How a device becomes known, and learns where its broker is."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final

from common.addresses import BrokerAddress
from common.clock import Clock
from common.errors import InvalidInputError
from common.names import check_name
from server.registry.repository import Registry

KEY_BYTES: Final = 32
_MAX_TEXT: Final = 64


class Enrolment:
    """Enrols devices.

    Args:
        registry: Keeps the digest of each device's key, never the key.
        clock: Stamps the record.
        broker: What devices are told.
    """

    def __init__(self, registry: Registry, clock: Clock, broker: BrokerAddress) -> None:
        self._registry = registry
        self._clock = clock
        self._broker = broker

    async def enrol(self, device_id: str, key: bytes, *, agent_version: str, platform: str) -> BrokerAddress:
        """The device is known, as before or from now on; where its broker is.

        Raises:
            InvalidInputError: The id is no name, or the key has not 32 bytes.
            ConflictError: Another key holds the id.
        """
        check_name(device_id, what="device")
        if len(key) != KEY_BYTES:
            raise InvalidInputError(f"An enrolment key has {KEY_BYTES} bytes, not {len(key)}.")
        await asyncio.to_thread(
            self._registry.enrol,
            device_id,
            hashlib.sha256(key).hexdigest(),
            agent_version[:_MAX_TEXT],
            platform[:_MAX_TEXT],
            self._clock.unix_ms(),
        )
        return self._broker
