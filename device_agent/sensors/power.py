"""Power: the battery's charge, and whether power comes from outside."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from device_agent.sensors.files import folders, read_integer, read_text
from device_agent.sensors.readings import Readings

_FROM_BATTERY: Final = {"charging": True, "discharging": False}
_PERCENT: Final = 100


class PowerSensor:
    """The supplies that the kernel knows; batteries of mice and the like do not count.

    Args:
        root: Where ``sys`` is mounted.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self) -> Readings:
        """Mean charge of the batteries; whether any supply is online, or a battery is being charged."""
        supplies = [
            supply
            for supply in folders(self._root / "sys/class/power_supply", "*")
            if (read_text(supply / "scope") or "").lower() != "device"
        ]
        batteries = [supply for supply in supplies if _kind(supply) == "battery"]
        charges = [charge for charge in map(_charge, batteries) if charge is not None]
        return Readings(
            battery_fraction=sum(charges) / len(charges) if charges else None,
            on_mains=_on_mains([supply for supply in supplies if supply not in batteries], batteries),
        )


def _kind(supply: Path) -> str:
    return (read_text(supply / "type") or "").lower()


def _charge(battery: Path) -> float | None:
    if read_integer(battery / "present") == 0:
        return None
    percent = read_integer(battery / "capacity")
    if percent is not None:
        return min(max(percent, 0), _PERCENT) / _PERCENT
    for unit in ("energy", "charge"):
        now, full = read_integer(battery / f"{unit}_now"), read_integer(battery / f"{unit}_full")
        if now is not None and full:
            return min(max(now / full, 0.0), 1.0)
    return None


def _on_mains(others: list[Path], batteries: list[Path]) -> bool | None:
    online = [read_integer(supply / "online") for supply in others]
    said = [_FROM_BATTERY.get((read_text(battery / "status") or "").lower()) for battery in batteries]
    signs = [bool(value) for value in (*online, *said) if value is not None]
    return any(signs) if signs else None
