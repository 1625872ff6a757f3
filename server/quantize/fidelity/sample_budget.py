"""How many samples a number of forwards can take within a time."""

from __future__ import annotations

from collections.abc import Callable


def affordable_samples(
    available: int, forwards: int, seconds_of: Callable[[int], float], budget_seconds: float
) -> int:
    """So many that all forwards together take about the budget at most; 0 where not even one does.

    Args:
        available: How many there are, at least 1.
        forwards: How often they will be run, at least once.
        seconds_of: Runs the first so many samples, and says how long it took.
        budget_seconds: For all forwards.
    """
    run_seconds = budget_seconds / forwards
    one_seconds = seconds_of(1)
    if one_seconds > run_seconds:
        one_seconds = seconds_of(1)  # the first run of a model also sets its kernels up
    if one_seconds > run_seconds:
        return 0
    all_seconds = seconds_of(available)
    if all_seconds <= run_seconds:
        return available
    # A run takes some time for itself and some for each sample.
    more_seconds = (all_seconds - one_seconds) / (available - 1) if available > 1 else all_seconds
    return 1 + int((run_seconds - one_seconds) / more_seconds)
