"""The port to what counts socket bytes, and the choice between measuring them and estimating."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Protocol

from device_agent.link.kernel_meter import KernelMeter, kernel_counts
from device_agent.link.overhead_estimate import EstimatingMeter

_log = logging.getLogger(__name__)


class SocketMeter(Protocol):
    """Counts what crosses the device's links: server, broker, and wherever blobs come from."""

    @property
    def measured(self) -> bool:
        """Whether it is a measurement; else it is an estimate."""

    def crossed_bytes(self) -> int:
        """Bytes above TCP so far, both ways; never falls. May be called from any thread."""

    def published(self, size_bytes: int) -> None:
        """A message of this size went to the broker; a measurement knows without being told."""


class NoSockets:
    """Implements ``SocketMeter`` for links that have no sockets."""

    measured = True

    def crossed_bytes(self) -> int:
        """None."""
        return 0

    def published(self, size_bytes: int) -> None:
        """Nothing happens."""


def open_meter(item_bytes: Callable[[], int], monotonic_seconds: Callable[[], float]) -> SocketMeter:
    """The kernel's counts where it has them, else an estimate.

    Args:
        item_bytes: All payload that the ledger has counted, with what came twice.
        monotonic_seconds: Tells the time.
    """
    if kernel_counts():
        return KernelMeter()
    _log.warning("This system does not count the bytes of a connection: overhead is an estimate.")
    return EstimatingMeter(item_bytes, monotonic_seconds)
