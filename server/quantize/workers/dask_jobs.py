"""Jobs in a Dask cluster: begun, waited for with an end, and their failures in this project's terms."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from typing import Final

from distributed import Client, Future, KilledWorker

from common.errors import CapacityError, ConfigError, LinkError
from server.quantize.workers.remote_call import Reply, remote_call
from server.quantize.workers.window import PER_WORKER

_LOOK_SECONDS: Final = 0.5
_COLLECT_SECONDS: Final = 60.0  # for one result to cross the network


class DaskJobs:
    """The jobs of one ``map``.

    Args:
        client: Connected.
        absent_seconds: How long the cluster may be without any worker.
        check_open: Raises once the wait is in vain.
        using: Held while the client is asked something, which on one that is closed meanwhile never returns.
    """

    def __init__(
        self, client: Client, absent_seconds: float, check_open: Callable[[], None], using: threading.Lock
    ) -> None:
        self._client = client
        self._using = using
        self._absent_seconds = absent_seconds
        self._check_open = check_open
        self._threads = 0
        self._seen_at = self._looked_at = time.monotonic()
        self._look()

    def room(self) -> int:
        """How many jobs may be under way; grows and shrinks with the cluster."""
        if time.monotonic() - self._looked_at >= _LOOK_SECONDS:
            self._look()
        return PER_WORKER * max(1, self._threads)

    def begin(self, call: bytes) -> Future[Reply]:
        """A ``remote_call`` under way."""
        with self._using:
            self._check_open()
            return self._client.submit(remote_call, call, pure=False)

    def finish(self, job: Future[Reply]) -> Reply:
        """The reply of a job.

        Raises:
            LinkError: The scheduler is lost, or there has been no worker for too long.
            CapacityError: One worker after the other died of it.
            ConfigError: The cluster cannot load it.
        """
        done = threading.Event()
        job.add_done_callback(lambda _: done.set())
        self._seen_at = time.monotonic()
        while not done.wait(_LOOK_SECONDS):
            self._look()
            self._check_present()
        with self._using:
            self._check_open()
            try:
                reply: Reply = job.result(timeout=_COLLECT_SECONDS)
            except Exception as error:
                raise _in_our_terms(error) from error
        return reply

    def _look(self) -> None:
        self._looked_at = time.monotonic()
        with self._using:
            self._check_open()
            self._threads = int(self._client.scheduler_info(n_workers=0).get("total_threads", 0))
        if self._threads:
            self._seen_at = self._looked_at

    def _check_present(self) -> None:
        absent_seconds = time.monotonic() - self._seen_at
        if absent_seconds > self._absent_seconds:
            raise LinkError(
                f"The Dask cluster has had no worker for {absent_seconds:.0f} seconds.",
                advice="Start workers (`dask worker tcp://HOST:PORT`), then push again.",
            )


def _in_our_terms(error: Exception) -> Exception:
    match error:
        case KilledWorker():
            return CapacityError(
                f"A block's work killed {error.allowed_failures + 1} Dask workers, one after the other.",
                advice="Look into the workers' logs; most likely each needs more memory, or smaller blocks.",
            )
        case CancelledError() | OSError():
            return LinkError(
                f"The Dask cluster was lost while it worked: {_first_line(error)}",
                advice="See that its scheduler runs, then push again.",
            )
        case _:
            return ConfigError(
                f"The Dask cluster cannot do the work: {_first_line(error)}",
                advice="Install the same nestfleet[server,dask] for the scheduler and all workers.",
            )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:300]
