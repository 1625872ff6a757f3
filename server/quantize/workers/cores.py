"""How many cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_CGROUP_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")  # of a container, as it sees itself


def usable_cores(quota_file: Path = _CGROUP_QUOTA) -> int:
    """At least 1: the cores that this process may run on, or fewer where a container's quota says so."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota_cores(quota_file) or cores))


def _quota_cores(quota_file: Path) -> int | None:
    """The quota in whole cores, rounded up; None without one."""
    try:
        quota, period = (int(field) for field in quota_file.read_text("ascii").split())
    except (OSError, ValueError):
        return None  # there is no such file, or it says "max"
    return -(-quota // period) if quota > 0 and period > 0 else None
