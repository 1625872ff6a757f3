"""The port to the server: what a device asks of it, whatever carries the bytes."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

from device_agent.store.records import Broker


class ServerLink(Protocol):
    """Three questions. Every failure of the way is a LinkError; what the server refuses is what it says."""

    async def enrol(self, device_id: str, enrolment_key: bytes) -> Broker:
        """Make the device known; where its broker is.

        Raises:
            ConflictError: Another key holds the id.
            LinkError: The server is away.
        """

    async def manifest(self, digest: str) -> bytes:
        """The frame that holds a canonical manifest, not verified.

        Raises:
            NotFoundError: No version has it.
            LinkError: The server is away.
        """

    def blob(self, digest: str, *, offset_bytes: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from an offset on, not verified; may end early or never.

        Raises:
            NotFoundError: No version names it.
            LinkError: The server is away, or the stream broke.
        """
