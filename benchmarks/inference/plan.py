"""How much is measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Plan:
    """The turns of one model at one number of threads and one batch.

    Attributes:
        calls: Timed calls of a turn at most; one more goes before them, since the others' turns emptied the
            caches.
        turn_seconds: No timed call begins after this much of a turn; the first always does.
        rest_seconds: Pause at the end of a turn, in which the runtime's threads come to rest.
        seconds: No further turn of all begins after this much.
        least_turns, most_turns: Of each runtime, whatever the seconds say.
        threads: Numbers of threads that are measured.
    """

    calls: int
    turn_seconds: float
    rest_seconds: float
    seconds: float
    least_turns: int
    most_turns: int
    threads: tuple[int, ...]


BATCHES: Final = (1, 8)
FULL: Final = Plan(5, 0.4, 0.05, 20.0, 5, 20, (2, 1))
QUICK: Final = Plan(3, 0.1, 0.02, 3.0, 2, 3, (1,))
