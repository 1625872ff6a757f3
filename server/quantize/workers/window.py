"""Results in order with a bounded number under way, whoever does the work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Final, TypeVar

Item = TypeVar("Item")
Job = TypeVar("Job")
Result = TypeVar("Result")

PER_WORKER: Final = 2  # one that is worked on, and the next at hand


def in_order(
    items: Iterable[Item],
    *,
    begin: Callable[[Item], Job],
    room: Callable[[], int],
    finish: Callable[[Job], Result],
    abandon: Callable[[Sequence[Job]], None],
) -> Generator[Result, None, None]:
    """What ``finish`` gives for each item's job, in order.

    Args:
        items: Taken when there is room.
        begin: Sets an item going.
        room: How many jobs may be under way now, at least 1.
        finish: Waits for a job.
        abandon: Told of the jobs that nobody waits for any more, when an error or the caller ends it early.
    """
    under_way: deque[Job] = deque()
    rest = iter(items)
    more = True
    try:
        while more or under_way:
            while more and len(under_way) < room():
                more = _begin_next(rest, begin, under_way)
            if under_way:
                yield finish(under_way.popleft())
    finally:
        abandon(under_way)


def _begin_next(rest: Iterable[Item], begin: Callable[[Item], Job], under_way: deque[Job]) -> bool:
    """Whether there was another item."""
    for item in rest:
        under_way.append(begin(item))
        return True
    return False
