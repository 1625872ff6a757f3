"""How much resident memory a piece of work takes at its peak."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import resource
from dataclasses import dataclass
from pathlib import Path

_STATUS = Path("/proc/self/status")
_RESET = Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5)


@dataclass(frozen=True, slots=True)
class Peak:
    """A watch on the process' resident memory.

    Attributes:
        before_bytes: What there was when the watch began.
    """

    before_bytes: int

    def growth_bytes(self) -> int:
        """How far it has risen above that since, at its highest."""
        return max(0, _status_bytes("VmHWM") - self.before_bytes)


def watch_peak() -> Peak:
    """A watch that begins now; what was freed before is given back to the system first.

    Where the kernel cannot forget an earlier peak, that one is what the work must exceed to be seen.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):
        _RESET.write_text(_RESET_PEAK)
    return Peak(_status_bytes("VmRSS"))


def _status_bytes(key: str) -> int:
    """A line of the process' status, or the peak of its whole life where there is no such file."""
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    line = next(line for line in _STATUS.read_text().splitlines() if line.startswith(f"{key}:"))
    return int(line.split()[1]) * 1024
