"""The update state machine: from what is wanted, what runs and what is on disk to the next step. Pure.

There is no stored phase. The step follows from the situation alone, so a restart at any point, a goal that
changed on the way and a budget that shrank all lead on from where the device really is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from common.manifest import Manifest
from device_agent.residency.policy import lowest_level, target_levels, total_bytes
from device_agent.store.records import AgentRecord, Goal, Installed, Release
from device_agent.update.allowance import EVERYTHING, Allowance, TransferHold
from device_agent.update.fetch_plan import (
    Has,
    base_levels,
    has_base,
    missing_blobs,
    next_stage,
    reachable_levels,
)


@dataclass(frozen=True, slots=True)
class Running:
    """The version that answers requests: loaded and proven.

    Attributes:
        installed: Which one, and the level that its assignment allows.
        manifest: Its manifest.
        levels: The level of each block in memory.
        highest_level: No higher than this, since a level above failed here; 0 for no limit.
    """

    installed: Installed
    manifest: Manifest
    levels: tuple[int, ...]
    highest_level: int = 0


@dataclass(frozen=True, slots=True)
class Situation:
    """All that the next step depends on.

    Attributes:
        record: What the agent remembers.
        running: What answers; None when nothing does.
        manifest: A release's manifest, when it is on disk.
        has: Whether a blob is whole on disk.
        given_up: Blobs, and manifests, that cannot be had or are of no use; not asked for again.
        budget_bytes: Memory for weights.
        allowance: What may be transferred.
    """

    record: AgentRecord
    running: Running | None
    manifest: Callable[[Release], Manifest | None]
    has: Callable[[str], bool]
    given_up: frozenset[str]
    budget_bytes: int
    allowance: Allowance = EVERYTHING


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing to do until something changes."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The goal is older than what has been proven, and going back is not wanted."""

    goal: Goal
    newest: int


@dataclass(frozen=True, slots=True)
class FetchManifest:
    """The goal's manifest is not here yet."""

    release: Release


@dataclass(frozen=True, slots=True)
class FetchBlobs:
    """Blobs are missing.

    Attributes:
        release: The version that they belong to.
        manifest: Its manifest.
        stage: The level of each block that is wanted next.
        target: The level of each block that is wanted in the end.
        update: Whether a version that does not run yet is being fetched.
    """

    release: Release
    manifest: Manifest
    stage: tuple[int, ...]
    target: tuple[int, ...]
    update: bool


@dataclass(frozen=True, slots=True)
class Withheld:
    """Blobs are missing, and a limit keeps them from coming."""

    hold: TransferHold


@dataclass(frozen=True, slots=True)
class Activate:
    """All is here to load, prove and switch to a version.

    Attributes:
        installed: What will be running.
        manifest: Its manifest.
        levels: To load and prove it at, beside what runs.
        make_room: Whether what runs must go down to its base first.
    """

    installed: Installed
    manifest: Manifest
    levels: tuple[int, ...]
    make_room: bool


@dataclass(frozen=True, slots=True)
class Page:
    """The running version's blocks go to other levels, from memory and disk alone."""

    levels: tuple[int, ...]


Step = Hold | Refuse | FetchManifest | FetchBlobs | Withheld | Activate | Page


def next_step(situation: Situation) -> Step:
    """The step to take now.

    Memory comes first: what is above the budget goes down, what the disk allows goes up. Then the goal, then
    the shards that the running version still lacks.
    """
    running = situation.running
    if running is not None:
        target = running_target(running, situation.record.goal, situation.budget_bytes)
        page = _page(running, target, situation.has)
        if page is not None:
            return page
    goal = _pursued(situation)
    if goal is not None:
        return _towards(goal, situation)
    if running is not None and situation.record.goal is not None:
        return _complete(running, target, situation)
    return Hold()


def running_target(running: Running, goal: Goal | None, budget_bytes: int) -> tuple[int, ...]:
    """The level of each block that the running version should have."""
    same = goal is not None and _same(goal.release, running.installed.release)
    allowed = goal.max_level if goal is not None and same else running.installed.max_level
    limits = [level for level in (allowed, running.highest_level) if level]
    return target_levels(running.manifest, budget_bytes=budget_bytes, max_level=min(limits, default=0))


def _page(running: Running, target: tuple[int, ...], has: Callable[[str], bool]) -> Page | None:
    now = running.levels
    down = tuple(min(pair) for pair in zip(now, target, strict=True))
    if down != now:
        return Page(down)
    # A shard in memory need not be on disk any more: what is loaded stays.
    up = tuple(map(max, reachable_levels(running.manifest, target, has), now))
    return Page(up) if up != now else None


def _pursued(situation: Situation) -> Goal | None:
    """The goal, unless it runs or failed; with nothing running, what ran last is worth having again."""
    record, running = situation.record, situation.running
    goal = record.goal
    if goal is not None and not record.failed(goal):
        return None if running is not None and _same(goal.release, running.installed.release) else goal
    if running is None and record.active is not None:
        lost = record.active.release
        if lost.manifest_digest not in situation.given_up and not _failed(record, lost):
            return Goal(record.seen_generation, lost, record.active.max_level, allow_older=True)
    return None


def _failed(record: AgentRecord, release: Release) -> bool:
    return record.goal is not None and _same(record.goal.release, release) and record.failed(record.goal)


def _towards(goal: Goal, situation: Situation) -> Step:
    release = goal.release
    newest = situation.record.newest_proven.get(release.model, 0)
    active = situation.record.active
    known = active is not None and _same(active.release, release)
    if release.version < newest and not goal.allow_older and not known:
        return Refuse(goal, newest)
    manifest = situation.manifest(release)
    if manifest is None:
        return FetchManifest(release)
    running = situation.running
    target = target_levels(manifest, budget_bytes=situation.budget_bytes, max_level=goal.max_level)
    needed = base_levels(manifest) if running is None else target
    if missing_blobs(manifest, needed, situation.has):
        fetch = FetchBlobs(release, manifest, needed, target, update=True)
        step = _allowed(fetch, situation.allowance, situation.has)
        # While shards are held back, what is here will do, as long as it runs no lower than what runs now.
        target = reachable_levels(manifest, target, situation.has)
        if isinstance(step, FetchBlobs) or not _no_lower(manifest, target, running, situation.has):
            return step
    installed = Installed(release, goal.max_level)
    if running is None:
        levels = reachable_levels(manifest, target, situation.has)
        return Activate(installed, manifest, levels, make_room=False)
    return _beside(running, installed, manifest, target, situation.budget_bytes)


def _beside(
    running: Running, installed: Installed, manifest: Manifest, target: Sequence[int], budget_bytes: int
) -> Activate:
    """Both versions in memory for a moment, within the budget as far as their bases allow."""
    if total_bytes(running.manifest, running.levels) + total_bytes(manifest, target) <= budget_bytes:
        return Activate(installed, manifest, tuple(target), make_room=False)
    base_bytes = total_bytes(running.manifest, base_levels(running.manifest))
    levels = target_levels(manifest, budget_bytes=budget_bytes - base_bytes, max_level=installed.max_level)
    return Activate(installed, manifest, tuple(map(min, levels, target)), make_room=True)


def _complete(running: Running, target: tuple[int, ...], situation: Situation) -> Step:
    """Fetch the running version's missing shards, one level for all blocks before the next."""

    def settled(digest: str) -> bool:
        return situation.has(digest) or digest in situation.given_up

    # A shard above one that cannot be had is of no use.
    attainable = reachable_levels(running.manifest, target, lambda digest: digest not in situation.given_up)
    stage = next_stage(running.manifest, attainable, settled)
    if missing_blobs(running.manifest, stage, settled):
        release = running.installed.release
        fetch = FetchBlobs(release, running.manifest, stage, attainable, update=False)
        return _allowed(fetch, situation.allowance, settled)
    return Hold()


def _allowed(fetch: FetchBlobs, allowance: Allowance, has: Has) -> FetchBlobs | Withheld:
    """The fetch, as far as the limits of transfer allow it now."""
    if allowance.hold is not None:
        return Withheld(allowance.hold)
    bases = base_levels(fetch.manifest)
    if allowance.shard_hold is None or fetch.stage == bases:
        return fetch
    if missing_blobs(fetch.manifest, bases, has):
        return replace(fetch, stage=bases)
    return Withheld(allowance.shard_hold)


def _no_lower(manifest: Manifest, levels: Sequence[int], running: Running | None, has: Has) -> bool:
    """Whether a version can be loaded at these levels, and its lowest is not below that of what runs."""
    if running is None or not has_base(manifest, has):
        return False
    return lowest_level(manifest, levels) >= lowest_level(running.manifest, running.levels)


def _same(one: Release, other: Release) -> bool:
    return one.manifest_digest == other.manifest_digest
