"""``python -m benchmarks.inference.processes.child JOB``: loads a model, then times calls when it is told."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, Final, TextIO

from numpy.typing import NDArray
from safetensors.numpy import load_file

from benchmarks.inference.files.layout import INPUTS_FILE
from benchmarks.inference.processes.messages import Loaded, Timed, Turn, job_from, to_line
from benchmarks.inference.runtimes.registry import start
from benchmarks.inference.runtimes.runtime import Infer
from device_agent.sensors.memory import process_bytes

_WARM_CALLS: Final = 3
_REST_SECONDS: Final = 0.05


def main() -> None:
    """Ends with its standard input."""
    replies = _own_stdout()
    job = job_from(sys.argv[1])
    samples = load_file(job.files.floats / INPUTS_FILE)
    runtime = start(job)
    idle_bytes = process_bytes()
    begun = time.perf_counter()
    infer = runtime.load(job.files, job.level)
    output = infer(_first(samples, 1))
    loaded = Loaded(time.perf_counter() - begun, [float(value) for value in output[0].reshape(-1)])
    print(to_line(loaded), file=replies, flush=True)
    for _ in range(_WARM_CALLS):
        infer(_first(samples, 1))
    time.sleep(_REST_SECONDS)
    rested_seconds = time.process_time()
    for line in sys.stdin:
        stray_seconds = time.process_time() - rested_seconds
        turn = Turn(**json.loads(line))
        timed = _timed(infer, _first(samples, turn.batch), turn)
        time.sleep(turn.rest_seconds)
        reply = Timed(timed, stray_seconds, process_bytes() - idle_bytes)
        print(to_line(reply), file=replies, flush=True)
        rested_seconds = time.process_time()


def _own_stdout() -> TextIO:
    """Where replies go; what a library prints goes to the standard error from here on."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return replies


def _first(samples: dict[str, NDArray[Any]], batch: int) -> dict[str, NDArray[Any]]:
    return {name: array[:batch] for name, array in samples.items()}


def _timed(infer: Infer, inputs: dict[str, NDArray[Any]], turn: Turn) -> list[float]:
    """Seconds of each call but the first, which finds cold caches."""
    infer(inputs)
    seconds: list[float] = []
    begun = before = time.perf_counter()
    while not seconds or (len(seconds) < turn.calls and before - begun < turn.turn_seconds):
        infer(inputs)
        after = time.perf_counter()
        seconds.append(after - before)
        before = after
    return seconds


if __name__ == "__main__":
    main()
