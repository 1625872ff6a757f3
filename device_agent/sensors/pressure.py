"""Memory pressure (PSI): how much of the time tasks wait for memory."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path
from typing import Final

from device_agent.sensors.control_groups import memory_groups_v2
from device_agent.sensors.files import read_text
from device_agent.sensors.readings import Readings

_LINE: Final = re.compile(r"^(some|full) avg10=(\d{1,3}(?:\.\d{1,6})?)\b", re.MULTILINE)


class PressureSensor:
    """The host's pressure or the own group's, whichever is higher. Kernels without PSI have neither.

    Args:
        root: Where ``proc`` and ``sys`` are mounted.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self) -> Readings:
        """Averages of ten seconds."""
        own = (group / "memory.pressure" for group in islice(memory_groups_v2(self._root), 1))
        texts = [read_text(file) or "" for file in (self._root / "proc/pressure/memory", *own)]
        said = [(kind, float(percent)) for text in texts for kind, percent in _LINE.findall(text)]
        return Readings(
            pressure_some_percent=max((percent for kind, percent in said if kind == "some"), default=None),
            pressure_full_percent=max((percent for kind, percent in said if kind == "full"), default=None),
        )
