"""Which blocks get a higher base, so that all bases together make the best of a budget of bytes. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from common.byte_sizes import format_bytes
from common.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Lift:
    """A shard that may become part of its block's base.

    Attributes:
        level: That it lifts to.
        size_bytes: What it adds to the base.
        gain: What it takes out of the output's error.
    """

    level: int
    size_bytes: int
    gain: float


def lifts_within(budget_bytes: int, bases_bytes: int, lifts: Mapping[int, Sequence[Lift]]) -> dict[int, int]:
    """Block to the level of its base, for those blocks that are lifted, in the order of their last lift.

    The most gain for each byte first; what a shard further up gains counts together with those below it that
    it needs. What does not fit any more is passed over, as something smaller may.

    Args:
        budget_bytes: What all bases may take.
        bases_bytes: What they take when none is lifted.
        lifts: Block to its shards, lowest first.

    Raises:
        InvalidInputError: The bases exceed the budget as they are.
    """
    if bases_bytes > budget_bytes:
        raise InvalidInputError(
            f"The bases take {format_bytes(bases_bytes)} and {format_bytes(budget_bytes)} are allowed.",
            advice="Add a lower level, pin less, or allow more.",
        )
    chosen: dict[int, int] = {}
    taken = dict.fromkeys(lifts, 0)
    left_bytes = budget_bytes - bases_bytes
    best = [option for block in lifts for option in _best(block, lifts[block], 0, left_bytes)]
    heapq.heapify(best)
    while best:
        _, block, count = heapq.heappop(best)
        steps = lifts[block][taken[block] : count]
        size_bytes = sum(step.size_bytes for step in steps)
        if size_bytes <= left_bytes:
            left_bytes -= size_bytes
            taken[block] = count
            chosen.pop(block, None)
            chosen[block] = steps[-1].level
        for option in _best(block, lifts[block], taken[block], left_bytes):
            heapq.heappush(best, option)
    return chosen


def _best(block: int, steps: Sequence[Lift], taken: int, left_bytes: int) -> list[tuple[float, int, int]]:
    """The best that fits and gains something: less its gain per byte, block, and how many shards it has then.

    One at most. What fits now may not when its turn comes; what does not fit now never will.
    """
    options = []
    size_bytes, gain = 0, 0.0
    for count in range(taken + 1, len(steps) + 1):
        size_bytes += steps[count - 1].size_bytes
        gain += steps[count - 1].gain
        if size_bytes <= left_bytes and gain > 0:
            options.append((-gain / max(1, size_bytes), block, count))
    return [min(options)] if options else []
