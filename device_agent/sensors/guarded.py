"""All sensors of a board as one, whatever becomes of any of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence

from device_agent.sensors.port import Sensor
from device_agent.sensors.readings import NOTHING, Readings

_log = logging.getLogger(__name__)


class Sensors:
    """Reads one after the other; a sensor that throws is absent for that time.

    Args:
        sensors: Where two say the same, the later counts.

    Attributes:
        failures: Name of a sensor to how often it threw; its first time is logged.
    """

    def __init__(self, sensors: Sequence[Sensor]) -> None:
        self._sensors = tuple(sensors)
        self.failures: Counter[str] = Counter()

    def read(self) -> Readings:
        """What those say that answer."""
        readings = NOTHING
        for sensor in self._sensors:
            try:
                readings = readings.with_others(sensor.read())
            except Exception as error:  # noqa: BLE001 - a broken sensor must not take the agent down
                self._failed(type(sensor).__name__, error)
        return readings

    def _failed(self, name: str, error: Exception) -> None:
        self.failures[name] += 1
        if self.failures[name] == 1:
            _log.warning("Sensor %s counts as absent: %r. It is not logged again.", name, error)
