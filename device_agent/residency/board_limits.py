"""What the board allows and what is held of it, from sensors to limits: rules, then hysteresis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from common.clock import Clock
from common.manifest import Manifest
from device_agent.residency.policy.footprint import full_bytes
from device_agent.residency.policy.hysteresis import Held, Pace, State, settle
from device_agent.residency.policy.rules import UNLIMITED_BYTES, Allowed, Thresholds, allowed
from device_agent.sensors.guarded import Sensors
from device_agent.sensors.readings import Readings

# A version and the one that replaces it are in memory together for a moment.
_BESIDE: Final = 2


class Loaded(Protocol):
    """A version in memory."""

    @property
    def manifest(self) -> Manifest:
        """Its manifest."""

    @property
    def resident_bytes(self) -> int:
        """Memory that its weights take."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How sensors become limits.

    Attributes:
        at: Where the rules set in.
        pace: How fast what is held may follow.
        margin: Share of the available memory that is left alone where limits are loosened.
    """

    at: Thresholds
    pace: Pace
    margin: float = 0.1

    def judge(self, readings: Readings) -> tuple[Allowed, Allowed]:
        """What is allowed, and what with a margin."""
        return allowed(readings, self.at), allowed(readings, self.at.stricter(self.margin))


class BoardLimits:
    """Follows the board.

    Args:
        sensors: Of the board.
        clock: For waits.
        rules: From sensors to limits.
        loaded: What is in memory now.

    Attributes:
        readings: Of the last look.
        held: What holds since then.
    """

    def __init__(
        self, sensors: Sensors, clock: Clock, rules: Rules, loaded: Callable[[], Sequence[Loaded]]
    ) -> None:
        self._sensors = sensors
        self._clock = clock
        self._rules = rules
        self._loaded = loaded
        self._state: State | None = None
        self._memory_counts = True
        self._full_bytes: dict[int, tuple[Manifest, int]] = {}
        self._allowed = Allowed()
        self.readings = Readings()
        self.held = Held(UNLIMITED_BYTES, 0, fetch=True)

    def read(self) -> Readings:
        """What the sensors say. Blocking; safe in a thread.

        Of what weights took before and after, the more counts: what a pager moves meanwhile is then not taken
        for memory that somebody else took.
        """
        before_bytes = self._weights_bytes()
        readings = self._sensors.read()
        return replace(readings, weights_bytes=max(before_bytes, self._weights_bytes()))

    def settle(self, readings: Readings, *, memory_counts: bool) -> Held:
        """What holds from now on.

        Args:
            readings: Of this moment.
            memory_counts: False where somebody else says how much memory weights may take: then memory is
                unlimited here. A change of this starts anew, as it is nothing that a sensor did.
        """
        loaded = self._loaded()
        self.readings = readings
        may, easily = self._rules.judge(self.readings)
        self._allowed = may
        if not memory_counts:
            may = replace(may, memory_bytes=UNLIMITED_BYTES)
            easily = replace(easily, memory_bytes=UNLIMITED_BYTES)
        if memory_counts is not self._memory_counts:
            self._state, self._memory_counts = None, memory_counts
        now_ms = math.floor(self._clock.monotonic_seconds() * 1000)
        need_bytes = _BESIDE * sum(self._need_bytes(item.manifest) for item in loaded)
        self._state, self.held = settle(
            self._state, may, easily, now_ms, pace=self._rules.pace, need_bytes=need_bytes
        )
        return self.held

    def why(self) -> tuple[str, ...]:
        """What holds the board back, for people."""
        held, reasons = self.held, list(self._allowed.why)
        if self._state is not None and self._state.exhausted and held.max_level:
            reasons.append("memory came and went too often: base, until it has been calm for a while")
        elif held.max_level and not self._allowed.max_level:
            reasons.append("base, until lifts have been allowed for a while")
        if self._allowed.fetch and not held.fetch:
            reasons.append("no shards come, until that has been allowed for a while")
        return tuple(reasons)

    def tree(self) -> dict[str, Any]:
        """Readings, limits and reasons, as JSON can carry them."""
        return {
            "readings": self.readings.present(),
            "failing_sensors": dict(self._sensors.failures),
            "base_only": bool(self.held.max_level),
            "shards_may_come": self.held.fetch,
            "why": list(self.why()),
        }

    def _weights_bytes(self) -> int:
        return sum(item.resident_bytes for item in self._loaded())

    def _need_bytes(self, manifest: Manifest) -> int:
        """Memory of a version at its full level; reckoned once while it is loaded."""
        known = self._full_bytes.get(id(manifest))
        if known is None or known[0] is not manifest:
            live = {id(item.manifest) for item in self._loaded()}
            self._full_bytes = {key: value for key, value in self._full_bytes.items() if key in live}
            known = self._full_bytes[id(manifest)] = (manifest, full_bytes(manifest))
        return known[1]
