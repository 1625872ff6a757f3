"""What a process that runs a model is told, and what it answers; a line of JSON each."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.inference.files.layout import Files
from benchmarks.inference.row import label


@dataclass(frozen=True, slots=True)
class Job:
    """What a process runs.

    Attributes:
        runtime: Its name.
        level: Of the weights; None where there are none.
        threads: Of the runtime.
        files: The model.
    """

    runtime: str
    level: int | None
    threads: int
    files: Files

    @property
    def label(self) -> str:
        """Runtime and level as people read them."""
        return label(self.runtime, self.level)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The first answer is there.

    Attributes:
        seconds: From the idle process to that.
        output: The answer: the first output for the first sample.
    """

    seconds: float
    output: list[float]


@dataclass(frozen=True, slots=True)
class Turn:
    """A request for some calls: as in ``benchmarks.inference.plan.Plan``."""

    batch: int
    calls: int
    turn_seconds: float
    rest_seconds: float


@dataclass(frozen=True, slots=True)
class Timed:
    """What a turn took.

    Attributes:
        call_seconds: Of each timed call.
        stray_seconds: CPU time that the process took since its last turn ended, while others had theirs.
        rss_bytes: Resident memory now, above that of the idle process.
    """

    call_seconds: list[float]
    stray_seconds: float
    rss_bytes: int


def to_line(message: Job | Loaded | Turn | Timed) -> str:
    """The message in one line."""
    return json.dumps(asdict(message), default=str)


def job_from(line: str) -> Job:
    """The job that a line stands for."""
    tree: dict[str, Any] = json.loads(line)
    files = Files(**{name: Path(folder) for name, folder in tree.pop("files").items()})
    return Job(files=files, **tree)
