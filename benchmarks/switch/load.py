"""A steady load: requests that are due at fixed times, whether those before are answered or not."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from device_agent.inference.answering import Answer

Infer = Callable[[], Answer]
_WARM_UP: Final = 3
_CAPACITY_REQUESTS: Final = 15


@dataclass(frozen=True, slots=True)
class Request:
    """One request.

    Attributes:
        due: When it was to begin, by the monotonic clock.
        done: When its answer was there.
        answer: Digest of its outputs; None where it failed.
    """

    due: float
    done: float
    answer: str | None

    @property
    def seconds(self) -> float:
        """From when it was due."""
        return self.done - self.due


def capacity_per_second(infer: Infer) -> float:
    """Requests that one worker answers in a second, one after the other; by the median."""
    seconds = []
    for _ in range(_WARM_UP + _CAPACITY_REQUESTS):
        begun = time.perf_counter()
        infer()
        seconds.append(time.perf_counter() - begun)
    return 1 / float(np.median(seconds[_WARM_UP:]))


def steady(infer: Infer, per_second: float, count: int) -> list[Request]:
    """So many requests, evenly spaced, through one worker as in the agent; returns when all are answered."""
    with ThreadPoolExecutor(1, thread_name_prefix="inference") as worker:
        futures = []
        begun = time.monotonic()
        for index in range(count):
            due = begun + index / per_second
            time.sleep(max(due - time.monotonic(), 0))
            futures.append(worker.submit(_one, infer, due))
        return [future.result() for future in futures]


def answer_digest(outputs: Sequence[NDArray[Any]]) -> str:
    """Names an answer to the bit."""
    hasher = hashlib.sha256()
    for output in outputs:
        hasher.update(np.ascontiguousarray(output).data)
    return hasher.hexdigest()


def p99_ms(requests: Sequence[Request]) -> float:
    """The latency that one in a hundred exceeds, in milliseconds; NaN of none."""
    if not requests:
        return float("nan")
    return 1e3 * float(np.percentile([request.seconds for request in requests], 99))


def _one(infer: Infer, due: float) -> Request:
    try:
        answer: str | None = answer_digest(list(infer().outputs.values()))
    except Exception:  # noqa: BLE001  whatever it is, the request failed
        answer = None
    return Request(due, time.monotonic(), answer)
