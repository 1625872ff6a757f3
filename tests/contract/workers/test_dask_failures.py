"""What can go wrong with a cluster: workers die, are missing, or the scheduler is."""

from __future__ import annotations

import contextlib
import socket
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from common.errors import CapacityError, ConfigError, IntegrityError, LinkError
from server.quantize.workers import Workers
from server.quantize.workers.dask_cluster import DaskWorkers, Patience
from tests.support import worker_tasks
from tests.support.cluster import address_of, running_cluster
from tests.support.quantizing import some_model
from tests.support.waiting import wait_until

IMPATIENT = Patience(connect_seconds=1.0, absent_seconds=1.0)


@dataclass(frozen=True, slots=True)
class Killing:
    """Workers of which one process is killed at the first task that it gets."""

    workers: Workers
    marker: Path

    def map(
        self, task: Callable[[Any], Any], items: Iterable[Any], *, check: Callable[[Any], None] | None = None
    ) -> Generator[Any, None, None]:
        return self.workers.map(partial(worker_tasks.die_once, self.marker, task), items, check=check)

    def close(self) -> None:
        self.workers.close()


def test_a_worker_killed_in_the_midst_loses_nothing(dask_workers: DaskWorkers, tmp_path: Path) -> None:
    model = some_model(tmp_path)
    killing = Killing(dask_workers, tmp_path / "killed")
    made = model.quantize(killing)
    assert killing.marker.exists()
    assert made == model.quantize(None)


def test_work_that_kills_every_worker_ends_with_advice(dask_workers: DaskWorkers) -> None:
    with pytest.raises(CapacityError, match=r"killed \d Dask workers.*more memory"):
        list(dask_workers.map(worker_tasks.die, [1]))
    assert list(dask_workers.map(worker_tasks.double, [1])) == [2]


def test_a_scheduler_that_is_not_there() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # bound, but nobody listens
        address = f"127.0.0.1:{reserved.getsockname()[1]}"
        with contextlib.closing(DaskWorkers(address, IMPATIENT)) as workers:
            for _ in range(2):
                with pytest.raises(
                    LinkError, match=rf"scheduler at {address} does not answer.*dask scheduler"
                ):
                    list(workers.map(worker_tasks.double, [1]))


@pytest.fixture(scope="module")
def empty_cluster() -> Iterator[str]:
    with running_cluster(0) as cluster:
        yield address_of(cluster)


def test_a_cluster_without_workers(empty_cluster: str) -> None:
    with (
        contextlib.closing(DaskWorkers(empty_cluster, IMPATIENT)) as workers,
        pytest.raises(LinkError, match=r"no worker for \d+ seconds.*dask worker"),
    ):
        list(workers.map(worker_tasks.double, [1]))


def test_a_worker_that_comes_late_is_waited_for() -> None:
    with (
        running_cluster(0) as cluster,
        contextlib.closing(DaskWorkers(address_of(cluster))) as workers,
        ThreadPoolExecutor(1) as pool,
    ):
        results = pool.submit(lambda: list(workers.map(worker_tasks.double, range(3))))
        cluster.scale(1)
        assert results.result(60) == [0, 2, 4]


def test_a_scheduler_lost_in_the_midst_ends_it_and_another_can_be_found(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    with contextlib.ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(1))
        workers = stack.enter_context(contextlib.closing(DaskWorkers(address_of(cluster), IMPATIENT)))
        pool = stack.enter_context(ThreadPoolExecutor(1))
        waiting = pool.submit(lambda: list(workers.map(worker_tasks.wait_for_ever, [begun])))
        wait_until(begun.exists, "the task began")
        cluster.close(10)
        with pytest.raises(LinkError, match=r"was lost|no worker"):
            waiting.result(60)
        with pytest.raises(LinkError, match="does not answer"):
            list(workers.map(worker_tasks.double, [1]))


def test_closing_ends_a_wait_in_another_thread(empty_cluster: str) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(9):
            taken.append(number)
            yield number

    workers = DaskWorkers(empty_cluster)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: list(workers.map(worker_tasks.double, items())))
        wait_until(lambda: bool(taken), "work was handed out")
        workers.close()
        with pytest.raises(LinkError, match="were closed"):
            waiting.result(60)


def test_workers_that_lack_the_code_say_so(
    dask_workers: DaskWorkers, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("only_in_this_process")
    exec("def task(item): return item", module.__dict__)  # noqa: S102
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with pytest.raises(ConfigError, match=r"only_in_this_process.*Install the same nestfleet"):
        list(dask_workers.map(module.task, [1]))


def test_a_result_that_is_not_whole_is_refused(dask_workers: DaskWorkers) -> None:
    def refuse(_result: int) -> None:
        raise IntegrityError("not whole")

    with pytest.raises(IntegrityError, match="not whole"):
        list(dask_workers.map(worker_tasks.double, [1], check=refuse))
