"""The sensors of a real board."""

from __future__ import annotations

from pathlib import Path

from device_agent.sensors.disk import DiskSensor
from device_agent.sensors.guarded import Sensors
from device_agent.sensors.heat import HeatSensor
from device_agent.sensors.memory import MemorySensor
from device_agent.sensors.power import PowerSensor
from device_agent.sensors.pressure import PressureSensor


def board_sensors(store_dir: Path, root: Path = Path("/")) -> Sensors:
    """All that a board may have.

    Args:
        store_dir: On the disk that counts.
        root: Where ``proc`` and ``sys`` are mounted.
    """
    return Sensors(
        [MemorySensor(root), PressureSensor(root), DiskSensor(store_dir), HeatSensor(root), PowerSensor(root)]
    )
