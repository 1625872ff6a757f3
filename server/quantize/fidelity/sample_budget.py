"""How many samples a number of forwards can take within a time."""

from __future__ import annotations

from collections.abc import Callable


def affordable_samples(
    available: int, forwards: int, seconds_of: Callable[[int], float], budget_seconds: float
) -> int:
    """So many that all forwards together take about the budget at most; 0 where not even one does.

    Args:
        available: How many there are, at least 1.
        forwards: How often they will be run.
        seconds_of: Runs the first so many samples, and says how long it took.
        budget_seconds: For all forwards.
    """
    # Twice, since the first run of a model also sets its kernels up.
    if all(seconds_of(1) * forwards > budget_seconds for _ in range(2)):
        return 0
    seconds = seconds_of(available) * forwards
    if seconds <= budget_seconds:
        return available
    return min(max(int(available * budget_seconds / seconds), 1), available)
