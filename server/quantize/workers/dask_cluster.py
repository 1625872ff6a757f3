"""Workers that are processes of a Dask cluster (https://distributed.dask.org).

Dask runs a task again elsewhere when its worker dies. Items and results travel pickled, so the cluster is
trusted as the server itself is.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

import dask
from distributed import Client, Future

from common.errors import LinkError
from server.quantize.workers.dask_jobs import DaskJobs
from server.quantize.workers.local import closed
from server.quantize.workers.remote_call import Reply, pickled_call, result_of
from server.quantize.workers.window import in_order

# A block's floats go with its task: data that is scattered beforehand dies with the worker that has it.
_LARGEST_TASK: Final = {"distributed.admin.large-graph-warning-threshold": "1 GiB"}

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for a cluster.

    Attributes:
        connect_seconds: For the scheduler to answer.
        absent_seconds: For a worker to be there, at first and again when all have gone.
    """

    connect_seconds: float = 10.0
    absent_seconds: float = 60.0


_PATIENCE: Final = Patience()


class DaskWorkers:
    """As ``Workers``; connects when there is work, and anew when the connection was lost.

    Args:
        address: ``HOST:PORT`` of the scheduler.
        patience: How long to wait for it and its workers.
    """

    def __init__(self, address: str, patience: Patience = _PATIENCE) -> None:
        self._address = address
        self._patience = patience
        self._connecting = threading.Lock()
        self._using = threading.Lock()
        self._client: Client | None = None
        self._closed = threading.Event()

    def map(
        self,
        task: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        check: Callable[[Result], None] | None = None,
    ) -> Generator[Result, None, None]:
        """See ``Workers``."""
        jobs = DaskJobs(self._connected(), self._patience.absent_seconds, self._check_open, self._using)

        def finish(job: Future[Reply]) -> Result:
            result: Result = result_of(jobs.finish(job))
            if check is not None:
                check(result)
            return result

        yield from in_order(
            items,
            begin=lambda item: jobs.begin(pickled_call(task, item)),
            room=jobs.room,
            finish=finish,
            abandon=_release,
        )

    def close(self) -> None:
        """The cluster is let go of, and forgets what it has not done."""
        self._closed.set()
        with self._connecting, self._using:
            if self._client is not None:
                self._client.close()

    def _check_open(self) -> None:
        if self._closed.is_set():
            raise closed()

    def _connected(self) -> Client:
        with self._connecting:
            self._check_open()
            if self._client is None or self._client.status != "running":
                if self._client is not None:
                    self._client.close()
                self._client = self._connect()
            return self._client

    def _connect(self) -> Client:
        dask.config.set(_LARGEST_TASK)
        try:
            return Client(
                f"tcp://{self._address}", timeout=self._patience.connect_seconds, set_as_default=False
            )
        except OSError as error:
            raise LinkError(
                f"The Dask scheduler at {self._address} does not answer.",
                advice="Start it (`dask scheduler`), or set the server's workers to local.",
            ) from error


def _release(jobs: Sequence[Future[Reply]]) -> None:
    """The scheduler forgets them: what has not begun never does."""
    for job in jobs:
        job.release()
