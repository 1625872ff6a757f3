"""Runtimes take turns, so that whatever else the machine does meets all of them alike."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from benchmarks.inference.plan import Plan
from benchmarks.inference.processes.messages import Timed, Turn


class TakesTurns(Protocol):
    """A process with a model loaded."""

    def take(self, turn: Turn) -> Timed:
        """What the turn took."""
        ...


@dataclass(slots=True)
class Taken:
    """What all turns of one runtime took.

    Attributes:
        call_seconds: Of each timed call.
        rss_bytes: As in ``Timed``, after the last turn.
        stray_seconds: CPU time while others had their turns.
    """

    call_seconds: list[float] = field(default_factory=list)
    rss_bytes: int = 0
    stray_seconds: float = 0.0

    def add(self, timed: Timed) -> None:
        """One more turn."""
        self.call_seconds += timed.call_seconds
        self.rss_bytes = timed.rss_bytes
        self.stray_seconds += timed.stray_seconds


def take_turns(workers: Mapping[str, TakesTurns], batch: int, plan: Plan) -> dict[str, Taken]:
    """Each has a turn, in an order that changes every time, until the plan's time is over."""
    taken = {name: Taken() for name in workers}
    turn = Turn(batch, plan.calls, plan.turn_seconds, plan.rest_seconds)
    begun = time.monotonic()
    for done in range(plan.most_turns):
        if done >= plan.least_turns and time.monotonic() - begun > plan.seconds:
            break
        for name in _order(list(workers), done):
            taken[name].add(workers[name].take(turn))
    return taken


def _order(names: Sequence[str], seed: int) -> list[str]:
    return random.Random(seed).sample(names, len(names))  # noqa: S311 - an order, no secret
