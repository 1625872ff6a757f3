"""Changes of level back and forth while others send requests, and which of these they ran beside."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from benchmarks.switch.load import Request
from common.manifest import Manifest
from device_agent.inference.served import ServedModel


@dataclass(frozen=True, slots=True)
class Switch:
    """One change.

    Attributes:
        to_level: Where it led.
        begun, done: By the monotonic clock.
    """

    to_level: int
    begun: float
    done: float

    def beside(self, request: Request) -> bool:
        """Whether it ran while the request waited or was answered."""
        return self.begun < request.done and request.due < self.done


class BackAndForth:
    """As a context: changes between two levels, with pauses as long as a change, until it ends.

    Attributes:
        switches: Those that were made.
    """

    def __init__(self, served: ServedModel, levels: Sequence[int]) -> None:
        self._served = served
        self._levels = levels
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="switching")
        self._error: Exception | None = None
        self.switches: list[Switch] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                for level in self._levels:
                    begun = time.monotonic()
                    self._served.set_levels(self._served.manifest.nearest(level))
                    done = time.monotonic()
                    self.switches.append(Switch(level, begun, done))
                    self._stop.wait(done - begun)
        except Exception as error:  # noqa: BLE001  raised where the context ends
            self._error = error


def states_between(manifest: Manifest, low: int, high: int) -> list[tuple[int, ...]]:
    """The levels of the blocks in every state that a change between two levels publishes, either way."""
    at_low, at_high = manifest.nearest(low), manifest.nearest(high)
    count = len(manifest.blocks)
    states = [(*at_high[:done], *at_low[done:]) for done in range(count + 1)]
    states += [(*at_low[:done], *at_high[done:]) for done in range(count + 1)]
    return list(dict.fromkeys(states))
