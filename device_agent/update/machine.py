"""The update state machine: from what is wanted, what runs and what is on disk to the next step. Pure.

There is no stored phase. The step follows from the situation alone, so a restart at any point, a goal that
changed on the way and a budget that shrank all lead on from where the device really is. One thing is done at
a time, whichever model it is for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import chain

from common.manifest import Manifest
from device_agent.residency.policy import lowest_level
from device_agent.store.records import Goal, Installed, Release, Slot
from device_agent.update.allowance import Allowance
from device_agent.update.fetch_plan import (
    Has,
    base_levels,
    has_base,
    missing_blobs,
    next_stage,
    reachable_levels,
)
from device_agent.update.memory_plan import beside, goal_target, memory_step, running_targets
from device_agent.update.situation import Running, Situation
from device_agent.update.steps import FetchBlobs, FetchManifest, Hold, Refuse, Step, Withheld


def next_step(situation: Situation) -> Step:
    """The step to take now.

    Memory comes first. Then the goals, in their order, then the shards that running versions still lack. What
    a limit of transfer holds back for one model keeps no other from going on.
    """
    in_memory = memory_step(situation)
    if in_memory is not None:
        return in_memory
    withheld: Withheld | None = None
    for step in chain(_goal_steps(situation), _shard_steps(situation)):
        if not isinstance(step, Withheld):
            return step
        withheld = withheld or step
    return withheld or Hold()


def _goal_steps(situation: Situation) -> Iterator[Step]:
    for goal in _pursued(situation):
        if goal.release.model not in situation.short:
            yield _towards(goal, situation)


def _pursued(situation: Situation) -> Iterator[Goal]:
    """The goals, but those that run or failed; what ran last is worth having again where nothing runs.

    Of models that are not wanted, that is so only while nothing runs at all.
    """
    for slot in situation.record.slots:
        running = situation.running.get(slot.model)
        if slot.goal is not None and not slot.failed:
            if running is None or not _same(slot.goal.release, running.installed.release):
                yield slot.goal
        elif running is None and (slot.goal is not None or not situation.running):
            yield from _lost(slot, situation)


def _lost(slot: Slot, situation: Situation) -> Iterator[Goal]:
    active = slot.active
    if active is None or active.release.manifest_digest in situation.given_up:
        return
    if slot.goal is None or not _same(slot.goal.release, active.release):
        yield Goal(situation.record.seen_generation, active.release, active.max_level, allow_older=True)


def _towards(goal: Goal, situation: Situation) -> Step:
    release = goal.release
    newest = situation.record.newest_proven.get(release.model, 0)
    active = situation.record.slot(release.model).active
    known = active is not None and _same(active.release, release)
    if release.version < newest and not goal.allow_older and not known:
        return Refuse(goal, newest)
    manifest = situation.manifest(release)
    if manifest is None:
        return FetchManifest(release)
    running = situation.running.get(release.model)
    target = goal_target(goal, manifest, situation)
    # What takes no other's place runs from its base, unless something runs that it shall take over from.
    in_place = running or _taken_over(situation)
    needed = base_levels(manifest) if in_place is None else target
    if missing_blobs(manifest, needed, situation.has):
        fetch = FetchBlobs(release, manifest, needed, target, update=True)
        step = _allowed(fetch, situation.allowance, situation.has)
        # While shards are held back, what is here will do, as long as it runs no lower than what runs now.
        target = reachable_levels(manifest, target, situation.has)
        if isinstance(step, FetchBlobs) or not _no_lower(manifest, target, in_place, situation.has):
            return step
    target = reachable_levels(manifest, target, situation.has)
    return beside(situation, Installed(release, goal.max_level), manifest, target)


def _taken_over(situation: Situation) -> Running | None:
    """What answers of a model that is not wanted any more, where nothing that is wanted answers."""
    wanted = {goal.release.model for goal in situation.record.goals}
    if not wanted or wanted & set(situation.running):
        return None
    return next((running for _, running in situation.in_order()), None)


def _shard_steps(situation: Situation) -> Iterator[Step]:
    targets = running_targets(situation)
    for model, running in situation.in_order():
        if situation.record.slot(model).goal is not None and model not in situation.short:
            step = _complete(running, targets[model], situation)
            if step is not None:
                yield step


def _complete(running: Running, target: Sequence[int], situation: Situation) -> FetchBlobs | Withheld | None:
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
    return None


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
