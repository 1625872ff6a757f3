"""What else the machine did meanwhile: a latency is worth what the machine left to it."""

from __future__ import annotations

import contextlib
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass

import psutil


@dataclass(slots=True)
class OtherLoad:
    """Cores that others kept busy, on average; nan until the context has ended."""

    cores: float = float("nan")


@contextlib.contextmanager
def other_load() -> Iterator[OtherLoad]:
    """Watches until the context ends; children of this process count as its own once they have ended."""
    load = OtherLoad()
    begun, busy, own = time.monotonic(), _busy_seconds(), _own_seconds()
    yield load
    others = (_busy_seconds() - busy) - (_own_seconds() - own)
    load.cores = max(0.0, others / (time.monotonic() - begun))


def _busy_seconds() -> float:
    times = psutil.cpu_times()._asdict()
    # The kernel counts a guest's time within the user's too.
    idle = ("idle", "iowait", "guest", "guest_nice")
    return float(sum(seconds for kind, seconds in times.items() if kind not in idle))


def _own_seconds() -> float:
    each = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in each)
