"""Takes requests, runs them in the thread of the runtime, and hands answers back: the only one that waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, TypeAlias

from device_agent.inference.answering import Answer, AnsweringModel
from device_agent.serving.queueing.batch import Inputs, count_rows, kind_of
from device_agent.serving.queueing.lanes import Lanes, QueueRules, Waiting
from device_agent.serving.queueing.running import Outcome, Queued, Run, Runner
from device_agent.serving.refusals import BusyError, ClosingError

# One inference takes all cores that torch may have; a second beside it would take them away.
_THREADS: Final = 1


@dataclass(frozen=True, slots=True)
class _Asked:
    model: AnsweringModel
    inputs: Inputs
    future: asyncio.Future[Queued]


_Batch: TypeAlias = "list[Waiting[_Asked]]"
OnRuns: TypeAlias = "Callable[[AnsweringModel, list[Run]], None]"


class Scheduler:
    """Everything here belongs to one event loop, but for the run itself.

    Args:
        rules: Of the queue.
        on_runs: Told, on the loop, which calls of a model were made.
    """

    def __init__(self, rules: QueueRules, on_runs: OnRuns = lambda _model, _runs: None) -> None:
        self._rules = rules
        self._on_runs = on_runs
        self._lanes: Lanes[_Asked] = Lanes(rules)
        self._runner = Runner()
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="inference")
        self._running: asyncio.Future[tuple[list[Outcome], list[Run]]] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.closed = False

    def length(self, model: str) -> int:
        """Requests that wait for a model."""
        return self._lanes.length(model)

    async def infer(self, model: AnsweringModel, inputs: Inputs) -> Queued:
        """The model's answer, from whatever batch.

        Raises:
            BusyError: The queue is full, or the request waited too long.
            ClosingError: The agent is shutting down.
            Error: What the model says of the inputs.
        """
        if self.closed:
            raise ClosingError
        loop = asyncio.get_running_loop()
        asked = _Asked(model, inputs, loop.create_future())
        rows, now = count_rows(inputs), loop.time()
        # Versions of one model wait in one lane and share no batch.
        kind = kind_of(model, inputs)
        waiting = Waiting(model.name, (id(model), kind) if kind is not None else None, rows, now, asked)
        self._lanes.put(waiting)
        expiry = loop.call_later(self._rules.longest_seconds, self._expire, waiting)
        self._start_next()
        try:
            return await asked.future
        finally:
            expiry.cancel()
            self._lanes.remove(waiting)

    def close(self) -> None:
        """Refuse what waits and what comes; what runs comes to its end."""
        self.closed = True
        if self._timer is not None:
            self._timer.cancel()
        for waiting in self._lanes.drain():
            _settle(waiting, ClosingError())
        self._pool.shutdown(wait=False)

    async def until_idle(self, seconds: float) -> None:
        """Nothing runs any more, or so much time has passed; after ``close``."""
        if self._running is not None:
            await asyncio.wait([self._running], timeout=seconds)
            # Those who asked go on first.
            await asyncio.sleep(0)

    def _start_next(self) -> None:
        """Begin the next run, unless one goes on or everything waits for its window."""
        if self._running is not None or self.closed:
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time()
        batch = self._lanes.take(now)
        if batch:
            model, inputs = batch[0].item.model, [waiting.item.inputs for waiting in batch]
            self._running = loop.run_in_executor(self._pool, self._runner.run, model, inputs)
            self._running.add_done_callback(lambda done: self._finish(batch, now, done))
            return
        due = self._lanes.due_seconds()
        if due is not None:
            self._timer = loop.call_at(due, self._start_next)

    def _finish(
        self, batch: _Batch, began_seconds: float, done: asyncio.Future[tuple[list[Outcome], list[Run]]]
    ) -> None:
        self._running = None
        runs: list[Run] = []
        outcomes: list[Outcome]
        try:
            outcomes, runs = done.result()
        except asyncio.CancelledError:
            outcomes = [ClosingError() for _ in batch]
        except Exception as error:  # noqa: BLE001  # whoever asked gets it
            outcomes = [error for _ in batch]
        ran_seconds = sum(run.seconds for run in runs)
        for waiting, outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Answer):
                waited_seconds = began_seconds - waiting.since_seconds
                _settle(waiting, Queued(outcome, waited_seconds, ran_seconds))
            else:
                _settle(waiting, outcome)
        self._on_runs(batch[0].item.model, runs)
        self._start_next()

    def _expire(self, waiting: Waiting[_Asked]) -> None:
        if self._lanes.remove(waiting):
            seconds = f"{self._rules.longest_seconds:g}"
            _settle(waiting, BusyError(f"It was not its turn within {seconds} s.", advice="Ask again later."))


def _settle(waiting: Waiting[_Asked], outcome: Queued | Exception) -> None:
    """Tell who asked, if it still waits."""
    future = waiting.item.future
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
