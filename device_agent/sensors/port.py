"""The sensor port: one thing on the board that can be read."""

from __future__ import annotations

from typing import Protocol

from device_agent.sensors.readings import Readings


class Sensor(Protocol):
    """Reads what it can; what it cannot is None. Blocking, but short."""

    def read(self) -> Readings:
        """What it says now. May raise anything: whoever asks takes it for absent then."""
