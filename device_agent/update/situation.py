"""All that the update state machine's next step depends on, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from common.manifest import Manifest
from device_agent.store.records import AgentRecord, Installed, Release
from device_agent.update.allowance import EVERYTHING, Allowance


@dataclass(frozen=True, slots=True)
class Running:
    """A version that answers requests: loaded and proven.

    Attributes:
        installed: Which one, and the level that its assignment allows.
        manifest: Its manifest.
        levels: The level of each block in memory.
        highest_level: No higher than this, since a level above failed here; 0 for no limit.
        memory_bytes: Its share of the budget, as it was told last; 0 before it was told any.
    """

    installed: Installed
    manifest: Manifest
    levels: tuple[int, ...]
    highest_level: int = 0
    memory_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """Where the device is.

    Attributes:
        record: What the agent remembers.
        running: Model to what of it answers.
        manifest: A release's manifest, when it is on disk.
        has: Whether a blob is whole on disk.
        given_up: Blobs, and manifests, that cannot be had or are of no use; not asked for again.
        budget_bytes: Memory for the weights of all versions.
        allowance: What may be transferred.
        short: Models for which room was lacking just now; the others go first.
        max_level: No version goes higher than this, as the board is; 0 for no limit.
        demand: Model to how much it is asked for; 1 for those that are not named.
    """

    record: AgentRecord
    running: Mapping[str, Running]
    manifest: Callable[[Release], Manifest | None]
    has: Callable[[str], bool]
    given_up: frozenset[str]
    budget_bytes: int
    allowance: Allowance = EVERYTHING
    short: frozenset[str] = frozenset()
    max_level: int = 0
    demand: Mapping[str, float] = field(default_factory=dict)

    def in_order(self) -> list[tuple[str, Running]]:
        """What answers, in the record's order of models."""
        known = [slot.model for slot in self.record.slots if slot.model in self.running]
        unknown = sorted(set(self.running) - set(known))
        return [(model, self.running[model]) for model in (*known, *unknown)]

    def surplus(self) -> list[str]:
        """Models that answer and are not wanted, once one that is wanted answers.

        Before that they go on: a device that answers does not fall silent for a version that may fail. Nor
        does it where nothing at all is assigned.
        """
        wanted = {goal.release.model for goal in self.record.goals}
        if not wanted & set(self.running):
            return []
        return [model for model, _ in self.in_order() if model not in wanted]
