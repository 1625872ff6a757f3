"""What this process has in memory, as Linux counts it."""

from __future__ import annotations

from pathlib import Path


def anonymous_bytes() -> int:
    """Resident memory that is no map of a file."""
    return _status_bytes("RssAnon")


def resident_bytes() -> int:
    """Resident memory."""
    return _status_bytes("VmRSS")


def _status_bytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024
