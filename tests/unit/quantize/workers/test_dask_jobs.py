"""Jobs in a cluster whose client is closed meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, cast

import pytest

from common.errors import LinkError
from server.quantize.workers.dask_jobs import DaskJobs


class ClosingCluster:
    """Client and only job of it: the job ends because the client is closed."""

    def __init__(self) -> None:
        self.closed = False
        self.asked_after_end = False

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"total_threads": n_workers + 1}

    def add_done_callback(self, done: Callable[[object], None]) -> None:
        self.closed = True
        done(self)

    def result(self, timeout: float) -> object:
        self.asked_after_end = True
        raise TimeoutError(timeout)


def test_a_closed_client_is_not_asked_for_a_result() -> None:
    cluster = ClosingCluster()

    def check_open() -> None:
        if cluster.closed:
            raise LinkError("Workers were closed.", advice="Push again.")

    jobs = DaskJobs(cast("Any", cluster), 1.0, check_open, threading.Lock())
    with pytest.raises(LinkError, match="were closed"):
        jobs.finish(cast("Any", cluster))
    assert not cluster.asked_after_end
