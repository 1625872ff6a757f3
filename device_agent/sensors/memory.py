"""Memory: the host's, narrowed by control groups, and what the process takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

from device_agent.sensors.control_groups import memory_groups_v1, memory_groups_v2
from device_agent.sensors.files import read_integer, read_table
from device_agent.sensors.readings import Readings

_UNLIMITED_BYTES: Final = 1 << 60  # cgroup v1 writes "no limit" as a number close to 2**63
_KIB: Final = 1024


@dataclass(frozen=True, slots=True)
class _Files:
    """How a version of control groups names things."""

    limit: str
    usage: str
    reclaimable: str


_V2: Final = _Files("memory.max", "memory.current", "inactive_file")
_V1: Final = _Files("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


class MemorySensor:
    """What this process may take, and what it could still have.

    A group's free memory is its limit less its working set, which is its usage less file pages that nobody
    used lately (as kubelet counts). psutil knows nothing of control groups, so it says only what the process
    takes.

    Args:
        root: Where the file systems ``proc`` and ``sys`` are mounted; a test gives a folder of its own.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self) -> Readings:
        """Limit, available memory, resident set."""
        host = read_table(self._root / "proc/meminfo")
        limits = [host["MemTotal"] * _KIB] if "MemTotal" in host else []
        available = [host["MemAvailable"] * _KIB] if "MemAvailable" in host else []
        for limit_bytes, free_bytes in self._groups():
            limits.append(limit_bytes)
            if free_bytes is not None:
                available.append(free_bytes)
        return Readings(
            memory_limit_bytes=min(limits, default=None),
            memory_available_bytes=min(available, default=None),
            process_bytes=process_bytes(),
        )

    def _groups(self) -> Iterator[tuple[int, int | None]]:
        """Limit and free memory of every group that limits the process."""
        for files, groups in ((_V2, memory_groups_v2(self._root)), (_V1, memory_groups_v1(self._root))):
            for group in groups:
                limit_bytes = read_integer(group / files.limit)
                if limit_bytes is not None and 0 <= limit_bytes < _UNLIMITED_BYTES:
                    yield limit_bytes, _free_bytes(group, files, limit_bytes)


def process_bytes() -> int:
    """Resident set of this process at this moment."""
    return int(psutil.Process(os.getpid()).memory_info().rss)


def _free_bytes(group: Path, files: _Files, limit_bytes: int) -> int | None:
    usage_bytes = read_integer(group / files.usage)
    if usage_bytes is None:
        return None
    reclaimable_bytes = read_table(group / "memory.stat").get(files.reclaimable, 0)
    return max(0, limit_bytes - max(0, usage_bytes - reclaimable_bytes))
