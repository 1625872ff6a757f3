"""The parent's side of a process that runs a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import TracebackType
from typing import IO, Final, Self

from benchmarks.inference.processes.messages import Job, Loaded, Timed, Turn, to_line

# What this process was told of threads, or told itself, is not what users of other runtimes have.
_THREAD_VARIABLES: Final = ("OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_")


class Worker:
    """A process with a model loaded; a context, which ends it.

    Args:
        job: What it runs.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.inference.processes.child", to_line(job)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={name: value for name, value in os.environ.items() if not name.startswith(_THREAD_VARIABLES)},
        )
        try:
            self.loaded = Loaded(**json.loads(self._reply()))
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def take(self, turn: Turn) -> Timed:
        """What the turn took; blocks until it is over."""
        pipe = self._pipe(self._process.stdin)
        pipe.write(f"{to_line(turn)}\n")
        pipe.flush()
        return Timed(**json.loads(self._reply()))

    def _reply(self) -> str:
        line = self._pipe(self._process.stdout).readline()
        if not line:
            raise RuntimeError(f"{self.job.label} ended by itself; what it said is above")
        return line

    def _pipe(self, pipe: IO[str] | None) -> IO[str]:
        assert pipe
        return pipe

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()
