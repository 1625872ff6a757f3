"""Runs requests that were taken together, in the thread of the runtime."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from device_agent.inference.answering import Answer, AnsweringModel
from device_agent.serving.queueing.batch import Inputs, count_rows, join, split
from device_agent.serving.queueing.trial import Trials, Verdict

Outcome: TypeAlias = "Answer | Exception"


@dataclass(frozen=True, slots=True)
class Run:
    """One call of a model.

    Attributes:
        rows: How many rows it had.
        seconds: How long it took.
    """

    rows: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Queued:
    """An answer, and what it took.

    Attributes:
        answer: To the request.
        waited_seconds: From its coming to the begin of its run.
        ran_seconds: What the model took for it and those that ran with it.
    """

    answer: Answer
    waited_seconds: float
    ran_seconds: float


class Runner:
    """Answers requests; for one thread."""

    def __init__(self) -> None:
        self._trials = Trials()

    def run(self, model: AnsweringModel, requests: Sequence[Inputs]) -> tuple[list[Outcome], list[Run]]:
        """What became of each request, and the calls that it took.

        A batch that fails is asked again one by one: what one request has wrong costs the others time alone.

        Args:
            model: What they all ask.
            requests: Of one kind.
        """
        runs: list[Run] = []
        if len(requests) == 1:
            return [_ask(model, requests[0], runs)], runs
        verdict = self._trials.verdict(model)
        together = _ask_together(model, requests, runs) if verdict is Verdict.APART else None
        if together is not None:
            return list(together), runs
        alone = [_ask(model, inputs, runs) for inputs in requests]
        if verdict is Verdict.OPEN:
            self._try(model, requests[:2], alone[:2], runs)
        return alone, runs

    def _try(
        self, model: AnsweringModel, requests: Sequence[Inputs], alone: Sequence[Outcome], runs: list[Run]
    ) -> None:
        answers = [outcome for outcome in alone if isinstance(outcome, Answer)]
        if len(answers) == len(requests):
            self._trials.judge(model, requests, answers, _ask_together(model, requests, runs))


def _ask(model: AnsweringModel, inputs: Inputs, runs: list[Run]) -> Outcome:
    began = time.perf_counter()
    try:
        answer = model.infer(inputs)
    except Exception as error:  # noqa: BLE001  # whoever asked gets it
        return error
    runs.append(Run(count_rows(inputs), time.perf_counter() - began))
    return answer


def _ask_together(model: AnsweringModel, requests: Sequence[Inputs], runs: list[Run]) -> list[Answer] | None:
    """Answers out of one batch; None where that gives none for each."""
    try:
        joined = join(requests)
    except MemoryError:
        return None
    answer = _ask(model, joined, runs)
    return split(answer, [count_rows(inputs) for inputs in requests]) if isinstance(answer, Answer) else None
