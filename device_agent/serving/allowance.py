"""Memory that requests may take while they are read and wait, all of them together."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

from common.byte_sizes import format_bytes
from device_agent.serving.refusals import BusyError


class Allowance:
    """So many bytes and no more; any thread may claim.

    Args:
        limit_bytes: For all requests.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._lock = threading.Lock()
        self._limit_bytes = limit_bytes
        self._held_bytes = 0

    @property
    def held_bytes(self) -> int:
        """Claimed at the moment."""
        return self._held_bytes

    def claim(self) -> Claim:
        """An empty claim, for one request."""
        return Claim(self)

    def take(self, size_bytes: int) -> None:
        """Hold more.

        Raises:
            BusyError: That would be too much.
        """
        with self._lock:
            left_bytes = self._limit_bytes - self._held_bytes
            if size_bytes > left_bytes:
                raise BusyError(
                    f"Requests under way hold {format_bytes(self._held_bytes)}"
                    f" of the {format_bytes(self._limit_bytes)} that they may.",
                    needed_bytes=size_bytes,
                    available_bytes=left_bytes,
                    advice="Ask again later, or raise request_memory_bytes.",
                )
            self._held_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Hold less."""
        with self._lock:
            self._held_bytes -= size_bytes


class Claim:
    """What one request holds; given back at the end of the ``with`` block."""

    def __init__(self, allowance: Allowance) -> None:
        self._allowance = allowance
        self._held_bytes = 0

    def add(self, size_bytes: int) -> None:
        """Hold more.

        Raises:
            BusyError: Requests hold too much already.
        """
        self._allowance.take(size_bytes)
        self._held_bytes += size_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._allowance.give_back(self._held_bytes)
        self._held_bytes = 0
