"""Which requests run next: a lane for each model, taken in turn, requests that fit together at once. Pure."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from common.errors import ConfigError
from device_agent.serving.refusals import BusyError

Item = TypeVar("Item")

# A request that is alone in whatever lane it waits.
ALONE: Final = None


@dataclass(frozen=True, slots=True)
class QueueRules:
    """How long requests wait, and how many run together.

    Attributes:
        length: Requests that may wait for one model.
        batch_rows: Rows that run together at most; 1 runs every request by itself.
        window_seconds: How long a request waits for others to run with; 0 for those that wait already.
        longest_seconds: A request that has waited so long is refused.
    """

    length: int = 32
    batch_rows: int = 32
    window_seconds: float = 0.0
    longest_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse rules by which nothing would ever run.

        Raises:
            ConfigError: Requests would be refused before their window ends.
        """
        if self.window_seconds >= self.longest_seconds:
            raise ConfigError(
                f"Requests would wait {self.window_seconds:g} s for others,"
                f" and be refused after {self.longest_seconds:g} s.",
                advice="Make batch_window_ms shorter than queue_seconds.",
            )


@dataclass(eq=False, frozen=True, slots=True)
class Waiting(Generic[Item]):
    """A request in its lane.

    Attributes:
        lane: The model that it asks.
        kind: Requests of a lane with equal kinds may run together; ``ALONE`` for none.
        rows: Rows of its inputs.
        since_seconds: When it came, on a clock that never runs backwards.
        item: The request itself.
    """

    lane: str
    kind: Hashable | None
    rows: int
    since_seconds: float
    item: Item = field(repr=False)


class Lanes(Generic[Item]):
    """The requests that wait.

    A lane has room of its own: a model that is asked too much gets none of its neighbours refused, and after
    each batch the next lane has its turn.
    """

    def __init__(self, rules: QueueRules) -> None:
        self._rules = rules
        self._lanes: OrderedDict[str, deque[Waiting[Item]]] = OrderedDict()

    def length(self, lane: str) -> int:
        """Requests that wait in a lane."""
        return len(self._lanes.get(lane, ()))

    def put(self, waiting: Waiting[Item]) -> None:
        """Add a request at the end of its lane.

        Raises:
            BusyError: The lane is full.
        """
        if self.length(waiting.lane) >= self._rules.length:
            raise BusyError(
                f"{self._rules.length} requests wait for {waiting.lane!r} already.", advice="Ask again later."
            )
        self._lanes.setdefault(waiting.lane, deque()).append(waiting)

    def remove(self, waiting: Waiting[Item]) -> bool:
        """Whether the request still waited; it does no more."""
        lane = self._lanes.get(waiting.lane, ())
        if waiting not in lane:
            return False
        self._drop(waiting.lane, [waiting])
        return True

    def take(self, now_seconds: float) -> list[Waiting[Item]]:
        """The requests that run next, all of one kind; none where every lane waits for its window."""
        for name, lane in self._lanes.items():
            batch, is_full = self._batch(lane)
            if is_full or self._due_seconds(batch[0]) <= now_seconds:
                self._drop(name, batch)
                if name in self._lanes:
                    self._lanes.move_to_end(name)
                return batch
        return []

    def due_seconds(self) -> float | None:
        """When ``take`` gives something at the latest, if nothing comes before; None when nothing waits."""
        return min((self._due_seconds(lane[0]) for lane in self._lanes.values()), default=None)

    def drain(self) -> list[Waiting[Item]]:
        """All that waited, in no particular order; nothing waits any more."""
        drained = [waiting for lane in self._lanes.values() for waiting in lane]
        self._lanes.clear()
        return drained

    def _batch(self, lane: deque[Waiting[Item]]) -> tuple[list[Waiting[Item]], bool]:
        """The first of a lane with those that may run with it, and whether waiting would add none."""
        first = lane[0]
        if first.kind is ALONE or self._rules.batch_rows <= first.rows:
            return [first], True
        batch: list[Waiting[Item]] = []
        rows = 0
        for waiting in lane:
            if waiting.kind != first.kind:
                continue
            if rows + waiting.rows > self._rules.batch_rows:
                return batch, True
            batch.append(waiting)
            rows += waiting.rows
        return batch, rows == self._rules.batch_rows

    def _due_seconds(self, first: Waiting[Item]) -> float:
        return first.since_seconds + self._rules.window_seconds

    def _drop(self, name: str, gone: list[Waiting[Item]]) -> None:
        # Identity tells requests apart.
        lane = deque(waiting for waiting in self._lanes[name] if waiting not in gone)
        if lane:
            self._lanes[name] = lane
        else:
            del self._lanes[name]
