"""Cumulative bytes by kind, from what was moved in each hour. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from server.ledger.savings import Kind, Savings
from server.registry.records import HourRecord

HOUR_MS: Final = 3_600_000


@dataclass(frozen=True, slots=True)
class Course:
    """How much had been moved when.

    Attributes:
        times_ms: Ascending; between two of them the bytes rise evenly, as far as is known.
        moved_bytes: Kind to the bytes so far at each time; kinds that moved nothing are left out.
    """

    times_ms: tuple[int, ...]
    moved_bytes: Mapping[Kind, tuple[int, ...]]


def course(savings: Savings, hours: Sequence[HourRecord], now_ms: int) -> Course:
    """The course that ends with what the fleet has moved.

    Args:
        savings: The fleet's row. What it has beyond all hours was moved before hours were kept, and is there
            from the beginning.
        hours: As the registry has them.
        now_ms: The present hour is over when it is.
    """
    added: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for hour in hours:
        added[hour.hour_unix_ms][hour.kind] = hour.moved_bytes
    starts = sorted(added)
    times: list[int] = []
    for start_ms in starts:
        times += [start_ms, max(start_ms + 1, min(start_ms + HOUR_MS, now_ms))]
    sums = {
        kind: _sums(total_bytes, [added[start_ms].get(kind, 0) for start_ms in starts])
        for kind, total_bytes in savings.moved_by_kind().items()
        if total_bytes
    }
    return Course(tuple(times), sums)


def _sums(total_bytes: int, added: Sequence[int]) -> tuple[int, ...]:
    """The sum before and after each hour, so that the last one is the total."""
    so_far = max(0, total_bytes - sum(added))
    sums: list[int] = []
    for size_bytes in added:
        sums += [so_far, so_far + size_bytes]
        so_far += size_bytes
    return tuple(sums)
