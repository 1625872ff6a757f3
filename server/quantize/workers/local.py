"""Workers that are threads of this process: numpy, zstd and SHA-256 work without the interpreter's lock."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from common.errors import LinkError
from server.quantize.workers.cores import usable_cores
from server.quantize.workers.window import PER_WORKER, in_order

Item = TypeVar("Item")
Result = TypeVar("Result")


class LocalWorkers:
    """As ``Workers``.

    Args:
        count: How many; None: one per core that this process may use.
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = usable_cores() if count is None else count
        self._pool = ThreadPoolExecutor(self.count, thread_name_prefix="worker")

    def map(
        self,
        task: Callable[[Item], Result],
        items: Iterable[Item],
        *,
        check: Callable[[Result], None] | None = None,  # noqa: ARG002 - nothing comes over a network
    ) -> Generator[Result, None, None]:
        """See ``Workers``."""

        def begin(item: Item) -> Future[Result]:
            try:
                return self._pool.submit(task, item)
            except RuntimeError as error:
                raise closed() from error

        return in_order(
            items, begin=begin, room=lambda: PER_WORKER * self.count, finish=_finish, abandon=_abandon
        )

    def close(self) -> None:
        """What runs has ended, and nothing else begins."""
        self._pool.shutdown(cancel_futures=True)


def closed() -> LinkError:
    """What a ``map`` ends with whose workers are gone."""
    return LinkError("The workers were closed while there was work for them.", advice="Push again.")


def _finish(job: Future[Result]) -> Result:
    try:
        return job.result()
    except CancelledError as error:
        raise closed() from error


def _abandon(jobs: Sequence[Future[Any]]) -> None:
    """None of them runs afterwards: a few blocks' worth of waiting."""
    wait([job for job in jobs if not job.cancel()])
