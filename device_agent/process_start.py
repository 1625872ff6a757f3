"""When this process began, to a hundredth of a second."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import psutil

from common.clock import Clock

_STARTED_FIELD: Final = 19  # of those after the command's name, which may hold anything; see proc(5)


def started_unix_ms(clock: Clock) -> int:
    """When the process began, by this clock.

    The kernel tells it in ticks since it booted, and the time of its boot only in whole seconds; so the age
    is measured on the kernel's own clock. Where there is no such clock, whole seconds have to do.
    """
    try:
        fields = Path("/proc/self/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
        ticks = int(fields[_STARTED_FIELD])
        age_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):
        return int(psutil.Process(os.getpid()).create_time() * 1000)
    return clock.unix_ms() - int(age_seconds * 1000)
