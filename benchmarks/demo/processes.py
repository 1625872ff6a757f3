"""Child processes that are always cleaned up, each in a session of its own with a log file of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import psutil

from benchmarks.demo.failure import DemoFailure

_LOG_LINES: Final = 15


@dataclass(frozen=True, slots=True)
class Child:
    """A process that was started.

    Attributes:
        name: For people.
        process: The handle; its id is also that of its session.
        log: Where its output goes.
        ready_file: What it writes once it serves.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    ready_file: Path

    def check_running(self) -> None:
        """Raises DemoFailure, with the end of its log, when the process has ended."""
        status = self.process.poll()
        if status is not None:
            raise DemoFailure(f"{self.name} ended with status {status}.\n{log_tail(self.log)}")

    def is_ready(self) -> bool:
        """Whether it serves."""
        return self.ready_file.exists()

    def addresses(self) -> dict[str, Any]:
        """What it wrote into its ready file."""
        tree: dict[str, Any] = json.loads(self.ready_file.read_text("utf-8"))
        return tree


class Children:
    """All processes of the demo; a context that ends them, the newest first.

    Args:
        logs: The folder for their output.
        stop_seconds: How long they may take to end by themselves.
    """

    def __init__(self, logs: Path, *, stop_seconds: float = 10.0) -> None:
        self._logs = logs
        self._stop_seconds = stop_seconds
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(
        self, name: str, command: Sequence[str], settings: Mapping[str, str], ready_file: Path
    ) -> Child:
        """Run a Python module.

        Args:
            name: For people, and for the log's name.
            command: As after ``python -m``.
            settings: Environment variables; of those around, none that sets nestfleet is handed on.
            ready_file: What the settings tell it to write.
        """
        log = self._logs / f"{name}.log"
        words = [sys.executable, "-m", "benchmarks.demo.tied_child", sys.executable, "-m", *command]
        with log.open("wb") as output:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                env={**neutral_environment(), **settings},
            )
        child = Child(name, process, log, ready_file)
        self._children.append(child)
        return child

    def check_running(self) -> None:
        """Raises DemoFailure when any has ended."""
        for child in self._children:
            child.check_running()

    def stop(self) -> None:
        """Afterwards none runs: asked first, the newest before the oldest, then killed."""
        for child in reversed(self._children):
            _signal(child, signal.SIGTERM)
        deadline = time.monotonic() + self._stop_seconds
        for child in reversed(self._children):
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.process.wait(max(0.0, deadline - time.monotonic()))
        for child in self._children:
            _signal(child, signal.SIGKILL)
            child.process.wait()

    def leftovers(self) -> list[int]:
        """Ids of processes that still run in a session which this demo opened."""
        sessions = {child.process.pid for child in self._children}
        return [process.pid for process in psutil.process_iter() if _session(process.pid) in sessions]


def neutral_environment() -> dict[str, str]:
    """This process' environment without settings of nestfleet, which the demo makes itself."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NESTFLEET_")}


def log_tail(log: Path) -> str:
    """The last lines of a log, with its name."""
    lines = log.read_text("utf-8", "replace").splitlines()[-_LOG_LINES:] if log.exists() else []
    return "\n".join([f"The end of {log}:", *(f"  {line}" for line in lines)])


def _signal(child: Child, number: signal.Signals) -> None:
    """Send to the child's whole group; the group may be gone."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(child.process.pid, number)


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return 0
