"""What the board says about memory: the limit that holds here, and what the process takes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Protocol

import psutil

_UNLIMITED_BYTES: Final = 1 << 60  # cgroup v1 writes "no limit" as a number close to 2**63
_CGROUP_DEPTH: Final = 64


class MemorySensor(Protocol):
    """What the rest of the agent may know of the board's memory."""

    def limit_bytes(self) -> int:
        """The most that this process may take, by the tightest limit above it."""

    def process_bytes(self) -> int:
        """What this process takes now."""


class SystemMemory:
    """The machine's memory, narrowed by the control groups (v2 and v1) that the process is in.

    Args:
        root: Where the file systems ``proc`` and ``sys`` are mounted; a test gives a folder of its own.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def limit_bytes(self) -> int:
        """The most that this process may take, by the tightest limit above it."""
        return min([psutil.virtual_memory().total, *self._cgroup_limits()])

    def process_bytes(self) -> int:
        """Resident set of this process."""
        return int(psutil.Process(os.getpid()).memory_info().rss)

    def _cgroup_limits(self) -> Iterator[int]:
        mount = self._root / "sys/fs/cgroup"
        v2_path, v1_path = self._cgroup_paths()
        for folder, file_name, path in (
            (mount, "memory.max", v2_path),
            (mount / "memory", "memory.limit_in_bytes", v1_path),
        ):
            for above in _upwards(folder, path):
                limit = _read_limit(above / file_name)
                if limit is not None:
                    yield limit

    def _cgroup_paths(self) -> tuple[str, str]:
        """The process's groups under v2 and v1; "/" where there is none, as in a container of its own."""
        v2_path = v1_path = "/"
        try:
            lines = (self._root / "proc/self/cgroup").read_text().splitlines()
        except OSError:
            return v2_path, v1_path
        for line in lines:
            hierarchy, controllers, path = [*line.split(":", 2), "", ""][:3]
            if hierarchy == "0" and not controllers:
                v2_path = path
            elif "memory" in controllers.split(","):
                v1_path = path
        return v2_path, v1_path


def derive_budget_bytes(limit_bytes: int, reserve_bytes: int) -> int:
    """Memory left for weights once the process's own needs are set aside; never negative."""
    return max(0, limit_bytes - reserve_bytes)


def _upwards(folder: Path, path: str) -> Iterator[Path]:
    """The group's folder and all above it, down to the mount; a limit of any of them holds."""
    names = [name for name in path.split("/") if name not in {"", ".", ".."}][:_CGROUP_DEPTH]
    for depth in range(len(names), -1, -1):
        yield folder.joinpath(*names[:depth])


def _read_limit(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None
    if not text.isascii() or not text.isdigit() or int(text) >= _UNLIMITED_BYTES:
        return None
    return int(text)
