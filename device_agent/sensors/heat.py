"""Heat: the processor's temperature, and whether it is slowed down for it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from device_agent.sensors.files import folders, read_integer, read_text
from device_agent.sensors.readings import Readings

_PROCESSOR: Final = re.compile(r"cpu|soc|pkg|core|acpitz", re.IGNORECASE)
_COOLING: Final = re.compile(r"cpufreq|^processor$", re.IGNORECASE)
# A zone that answers with less or more is broken, or has no sensor behind it.
_COLDEST_CELSIUS: Final = -40.0
_HOTTEST_CELSIUS: Final = 150.0
_MILLI: Final = 1000
# Raspberry Pi: frequency capped, throttled, soft limit of temperature; not the bits for "has been".
_PI_NOW: Final = 0b1110


class HeatSensor:
    """Thermal zones of the processor (all, where none says that it is one), and throttling for heat.

    Throttled is: a cooling device of the processor at work, a counter of thermal throttling (x86) that rose
    since the last look, or the firmware of a Raspberry Pi saying so. A ceiling of frequency that somebody set
    is no heat, and is not looked at.

    Args:
        root: Where ``sys`` is mounted.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._counted: int | None = None

    def read(self) -> Readings:
        """Temperature and throttling now."""
        return Readings(cpu_celsius=self._celsius(), throttled=self._throttled())

    def _celsius(self) -> float | None:
        zones = [
            (read_text(zone / "type") or "", read_integer(zone / "temp"))
            for zone in folders(self._root / "sys/class/thermal", "thermal_zone*")
        ]
        known = [(kind, temp / _MILLI) for kind, temp in zones if temp is not None]
        sound = [(kind, celsius) for kind, celsius in known if _COLDEST_CELSIUS < celsius < _HOTTEST_CELSIUS]
        own = [celsius for kind, celsius in sound if _PROCESSOR.search(kind)]
        return max(own or [celsius for _, celsius in sound], default=None)

    def _throttled(self) -> bool | None:
        signs = [
            sign for sign in (self._cooled(), self._counter_rose(), self._firmware()) if sign is not None
        ]
        return any(signs) if signs else None

    def _cooled(self) -> bool | None:
        states = [
            read_integer(device / "cur_state")
            for device in folders(self._root / "sys/class/thermal", "cooling_device*")
            if _COOLING.search(read_text(device / "type") or "")
        ]
        known = [state > 0 for state in states if state is not None]
        return any(known) if known else None

    def _counter_rose(self) -> bool | None:
        counters = folders(
            self._root / "sys/devices/system/cpu", "cpu[0-9]*/thermal_throttle/*_throttle_count"
        )
        counts = [count for count in map(read_integer, counters) if count is not None]
        before, self._counted = self._counted, sum(counts) if counts else None
        if self._counted is None:
            return None
        return before is not None and self._counted > before

    def _firmware(self) -> bool | None:
        bits = read_integer(self._root / "sys/devices/platform/soc/soc:firmware/get_throttled", base=16)
        return None if bits is None else bool(bits & _PI_NOW)
