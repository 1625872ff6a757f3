"""A Dask cluster of processes on this machine."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from distributed import LocalCluster


@contextlib.contextmanager
def running_cluster(workers: int) -> Iterator[LocalCluster]:
    """Scheduler and workers on free ports of the loopback, one thread each; killed workers come back."""
    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        scheduler_port=0,
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as cluster:
        yield cluster


def address_of(cluster: LocalCluster) -> str:
    """``HOST:PORT`` of the scheduler."""
    return str(cluster.scheduler_address).removeprefix("tcp://")
