"""Measures models in all runtimes."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.inference.files.all_files import make_files
from benchmarks.inference.files.layout import Files
from benchmarks.inference.load import other_load
from benchmarks.inference.nets.net import Net
from benchmarks.inference.plan import BATCHES, Plan
from benchmarks.inference.processes.messages import Job
from benchmarks.inference.processes.turns import Taken, take_turns
from benchmarks.inference.processes.worker import Worker
from benchmarks.inference.row import NESTFLEET, TORCH_FP32, Row
from benchmarks.inference.runtimes.registry import PEERS
from benchmarks.quantize.metrics import mean_cosine
from benchmarks.update.version import LEVELS

_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Measured:
    """One model at one number of threads.

    Attributes:
        rows: Of all runtimes and batches.
        other_cores: As in ``OtherLoad``, meanwhile.
    """

    rows: list[Row]
    other_cores: float


def measure(
    nets: Mapping[str, Callable[[], Net]], plan: Plan, say: Callable[[str], None]
) -> Iterator[Measured]:
    """One model at one number of threads after the other."""
    for name, make in nets.items():
        files = make_files(name, make, say)
        files.warm()
        for threads in plan.threads:
            with other_load() as load:
                rows = _rows(name, files, threads, plan, say)
            say(f"{name}, threads {threads}: other work kept {load.cores:.2f} cores busy")
            yield Measured(rows, load.cores)


def _rows(name: str, files: Files, threads: int, plan: Plan, say: Callable[[str], None]) -> list[Row]:
    rows: list[Row] = []
    with contextlib.ExitStack() as stack:
        workers: dict[str, Worker] = {}
        for job in _jobs(files, threads):
            say(f"{name}, threads {threads}: {job.label} loads")
            workers[job.label] = stack.enter_context(Worker(job))
        say(f"{name}: first answer's cosine to torch: {_cosines(workers)}")
        for batch in BATCHES:
            say(f"{name}, threads {threads}, batch {batch}: turns")
            taken = take_turns(workers, batch, plan)
            say(f"  {_order(taken)}")
            rows += [_row(name, workers[label], batch, times) for label, times in taken.items()]
    return rows


def _jobs(files: Files, threads: int) -> Iterator[Job]:
    for level in LEVELS:
        yield Job(NESTFLEET, level, threads, files)
    for runtime in PEERS:
        yield Job(runtime, None, threads, files)


def _cosines(workers: Mapping[str, Worker]) -> str:
    """That all run the same model."""
    outputs = {label: np.array([worker.loaded.output], np.float32) for label, worker in workers.items()}
    return ", ".join(
        f"{label} {mean_cosine(output, outputs[TORCH_FP32]):.4f}"
        for label, output in outputs.items()
        if label != TORCH_FP32
    )


def _order(taken: Mapping[str, Taken]) -> str:
    """How many calls, and whether anyone worked while others had their turns."""
    calls = sum(len(times.call_seconds) for times in taken.values())
    turns = sum(sum(times.call_seconds) for times in taken.values())
    stray = sum(times.stray_seconds for times in taken.values())
    return f"{calls} calls; out of turn {100 * stray / turns:.1f} % of their time in CPU time"


def _row(name: str, worker: Worker, batch: int, taken: Taken) -> Row:
    p50, p95 = np.percentile(taken.call_seconds, [50, 95])
    return Row(
        model=name,
        runtime=worker.job.runtime,
        level=worker.job.level,
        batch=batch,
        threads=worker.job.threads,
        p50_ms=round(1e3 * float(p50), 3),
        p95_ms=round(1e3 * float(p95), 3),
        rss_mib=round(taken.rss_bytes / _MIB, 1),
        first_inference_seconds=round(worker.loaded.seconds, 3),
    )
