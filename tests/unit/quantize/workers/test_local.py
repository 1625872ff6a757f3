"""What holds of threads beyond the contract."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.errors import LinkError
from server.quantize.workers import LocalWorkers

DEADLINE_SECONDS = 30


def test_all_workers_work_at_once_and_never_more() -> None:
    meeting = threading.Barrier(3)
    lock = threading.Lock()
    at_once: list[int] = []

    def task(_: int) -> int:
        with lock:
            at_once.append((at_once[-1] if at_once else 0) + 1)
        meeting.wait(DEADLINE_SECONDS)
        with lock:
            at_once.append(at_once[-1] - 1)
        return 0

    with contextlib.closing(LocalWorkers(3)) as workers:
        assert list(workers.map(task, range(9))) == [0] * 9
    assert max(at_once) == 3


def test_there_is_one_per_core_when_none_is_said() -> None:
    with contextlib.closing(LocalWorkers()) as workers:
        assert workers.count >= 1


def test_what_runs_has_ended_when_the_caller_stops_early() -> None:
    begun, go_on = threading.Event(), threading.Event()
    ended: list[int] = []

    def task(number: int) -> int:
        if number:
            begun.set()
            assert go_on.wait(DEADLINE_SECONDS)
            ended.append(number)
        return number

    with contextlib.closing(LocalWorkers(1)) as workers, ThreadPoolExecutor(1) as pool:
        results = workers.map(task, range(9))
        assert next(results) == 0
        assert begun.wait(DEADLINE_SECONDS)
        closing = pool.submit(results.close)
        go_on.set()
        closing.result(DEADLINE_SECONDS)
        assert ended in ([1], [1, 2])  # the second where the thread was quicker than the cancelling


def test_closing_ends_a_map_in_another_thread() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def task(_: int) -> bool:
        begun.set()
        return go_on.wait(DEADLINE_SECONDS)

    workers = LocalWorkers(1)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(lambda: list(workers.map(task, range(9))))
        assert begun.wait(DEADLINE_SECONDS)
        closing = pool.submit(workers.close)
        go_on.set()
        closing.result(DEADLINE_SECONDS)
        with pytest.raises(LinkError, match="were closed"):
            waiting.result(DEADLINE_SECONDS)
