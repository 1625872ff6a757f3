"""Room on the store's disk."""

from __future__ import annotations

import shutil
from pathlib import Path

from device_agent.sensors.readings import Readings


class DiskSensor:
    """The disk that a folder is on.

    Args:
        folder: The store.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> Readings:
        """Free bytes; nothing while the folder is not there."""
        try:
            return Readings(disk_free_bytes=shutil.disk_usage(self._folder).free)
        except FileNotFoundError:
            return Readings()
