"""The control groups that the process is in, of version 1 and 2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from device_agent.sensors.files import read_text

_DEPTH: Final = 64


def memory_groups_v2(root: Path) -> Iterator[Path]:
    """The process's group and all above it, up to the mount; a limit of any of them holds."""
    yield from _upwards(root / "sys/fs/cgroup", _paths(root)[0])


def memory_groups_v1(root: Path) -> Iterator[Path]:
    """The same of the memory controller of version 1."""
    yield from _upwards(root / "sys/fs/cgroup/memory", _paths(root)[1])


def _paths(root: Path) -> tuple[str, str]:
    """The process's groups under v2 and v1; "/" where there is none, as in a container of its own."""
    v2_path = v1_path = "/"
    for line in (read_text(root / "proc/self/cgroup") or "").splitlines():
        hierarchy, controllers, path = [*line.split(":", 2), "", ""][:3]
        if hierarchy == "0" and not controllers:
            v2_path = path
        elif "memory" in controllers.split(","):
            v1_path = path
    return v2_path, v1_path


def _upwards(folder: Path, path: str) -> Iterator[Path]:
    names = [name for name in path.split("/") if name not in {"", ".", ".."}][:_DEPTH]
    for depth in range(len(names), -1, -1):
        yield folder.joinpath(*names[:depth])
