"""Which blocks get a higher base, so that all bases together make the best of a budget of bytes. Pure."""

from __future__ import annotations

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
    """Block to the level of its base, for those blocks that are lifted.

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
    while best := max(_options(lifts, taken, left_bytes), default=None):
        _, block, count = best
        steps = lifts[block][taken[block] : count]
        left_bytes -= sum(step.size_bytes for step in steps)
        taken[block], chosen[block] = count, steps[-1].level
    return chosen


def _options(
    lifts: Mapping[int, Sequence[Lift]], taken: Mapping[int, int], left_bytes: int
) -> list[tuple[float, int, int]]:
    """Gain per byte, block, and how many of its shards are taken then; those that fit and gain something."""
    options = []
    for block, steps in lifts.items():
        size_bytes, gain = 0, 0.0
        for count in range(taken[block] + 1, len(steps) + 1):
            size_bytes += steps[count - 1].size_bytes
            gain += steps[count - 1].gain
            if size_bytes <= left_bytes and gain > 0:
                options.append((gain / max(1, size_bytes), block, count))
    return options
