"""The part of the state machine that is about memory: who takes how much of the one budget. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from common.manifest import Manifest
from device_agent.residency.policy import Want, joint_targets, target_levels, total_bytes
from device_agent.store.records import Goal, Installed
from device_agent.update.fetch_plan import base_levels, reachable_levels
from device_agent.update.situation import Running, Situation
from device_agent.update.steps import Activate, Drop, Page, Share

Levels = tuple[int, ...]


def memory_step(situation: Situation) -> Drop | Page | Share | None:
    """The next step towards the targets of all that runs; None when they are reached as far as may be.

    What gives memory back comes before what takes some, so that the sum never exceeds the budget but for
    what the bases take: models that are not wanted, levels down, shares down, shares up, levels up.
    """
    surplus = situation.surplus()
    if surplus:
        return Drop(surplus[0])
    targets = running_targets(situation)
    return _down(situation, targets) or _share(situation, targets) or _up(situation, targets)


def running_targets(situation: Situation) -> dict[str, Levels]:
    """Model to the level of each block that its running version should have."""
    ordered = situation.in_order()
    wants = [_running_want(situation, running) for _, running in ordered]
    targets = joint_targets(wants, situation.budget_bytes)
    return {model: target for (model, _), target in zip(ordered, targets, strict=True)}


def goal_target(goal: Goal, manifest: Manifest, situation: Situation) -> Levels:
    """The level of each block that a goal's version should have once it runs beside those that are wanted."""
    wants: list[Want] = []
    place = -1
    for slot in situation.record.slots:
        running = situation.running.get(slot.model)
        if slot.model == goal.release.model:
            place = len(wants)
            wants.append(_want(situation, manifest, goal.max_level))
        elif running is not None and slot.goal is not None:
            wants.append(_running_want(situation, running))
    return joint_targets(wants, situation.budget_bytes)[place]


def beside(situation: Situation, installed: Installed, manifest: Manifest, target: Sequence[int]) -> Activate:
    """A version comes into memory beside all that runs, within the budget as far as the bases allow.

    What makes room first is what it takes the place of, which goes down to its base; the neighbours go down
    only where else the new one's base would not fit.

    Args:
        situation: Where the device is.
        installed: What shall run.
        manifest: Its manifest.
        target: The level of each block that it should have, for which all blobs are on disk.
    """
    model, budget_bytes = installed.release.model, situation.budget_bytes
    levels = {name: running.levels for name, running in situation.running.items()}
    if _bytes(situation, levels) + total_bytes(manifest, target) <= budget_bytes:
        return Activate(installed, manifest, tuple(target))
    wanted = {goal.release.model for goal in situation.record.goals}
    for name, running in situation.running.items():
        if name == model or name not in wanted:
            levels[name] = base_levels(running.manifest)
    base_bytes = total_bytes(manifest, base_levels(manifest))
    if _bytes(situation, levels) + base_bytes > budget_bytes:
        levels |= _lowered(situation, installed, manifest, levels)
    spare_bytes = budget_bytes - _bytes(situation, levels)
    want = _want(situation, manifest, installed.max_level)
    highest = target_levels(manifest, budget_bytes=spare_bytes, max_level=want.max_level)
    room = tuple((name, down) for name, down in levels.items() if down != situation.running[name].levels)
    return Activate(installed, manifest, tuple(map(min, highest, target)), room)


def shares(
    manifests: Mapping[str, Manifest], targets: Mapping[str, Levels], budget_bytes: int
) -> dict[str, int]:
    """Model to its share of the budget: what its target takes, and an even split of what all leave."""
    taken = {model: total_bytes(manifests[model], target) for model, target in targets.items()}
    left_bytes = max(0, budget_bytes - sum(taken.values()))
    return {model: size_bytes + left_bytes // len(taken) for model, size_bytes in taken.items()}


def _down(situation: Situation, targets: Mapping[str, Levels]) -> Page | None:
    for model, running in situation.in_order():
        down = tuple(map(min, running.levels, targets[model]))
        if down != running.levels:
            return Page(model, down)
    return None


def _share(situation: Situation, targets: Mapping[str, Levels]) -> Share | None:
    """The share that falls most, or rises least: so room is there before it is taken."""
    manifests = {model: running.manifest for model, running in situation.running.items()}
    settled = shares(manifests, targets, situation.budget_bytes)
    changes = [
        (share_bytes - situation.running[model].memory_bytes, model, share_bytes)
        for model, share_bytes in settled.items()
        if share_bytes != situation.running[model].memory_bytes
    ]
    if not changes:
        return None
    _, model, share_bytes = min(changes)
    return Share(model, share_bytes)


def _up(situation: Situation, targets: Mapping[str, Levels]) -> Page | None:
    for model, running in situation.in_order():
        if model in situation.short:
            continue
        # A shard in memory need not be on disk any more: what is loaded stays.
        reachable = reachable_levels(running.manifest, targets[model], situation.has)
        up = tuple(map(max, reachable, running.levels))
        if up != running.levels:
            return Page(model, up)
    return None


def _lowered(
    situation: Situation, installed: Installed, manifest: Manifest, levels: Mapping[str, Levels]
) -> dict[str, Levels]:
    """The neighbours of a version that comes in, no higher than where they will be once it runs."""
    model = installed.release.model
    neighbours = [(name, running) for name, running in situation.in_order() if name != model]
    old_bytes = sum(
        total_bytes(running.manifest, levels[name])
        for name, running in situation.running.items()
        if name == model
    )
    wants = [_running_want(situation, running) for _, running in neighbours]
    wants.append(_want(situation, manifest, installed.max_level))
    targets = joint_targets(wants, situation.budget_bytes - old_bytes)
    return {
        name: tuple(map(min, levels[name], target))
        for (name, _), target in zip(neighbours, targets, strict=False)
    }


def _running_want(situation: Situation, running: Running) -> Want:
    """What runs, with the highest level that assignment, self-tests and the board allow it."""
    release = running.installed.release
    goal = situation.record.slot(release.model).goal
    same = goal is not None and goal.release.manifest_digest == release.manifest_digest
    allowed = goal.max_level if goal is not None and same else running.installed.max_level
    return _want(situation, running.manifest, allowed, running.highest_level)


def _want(situation: Situation, manifest: Manifest, *max_levels: int) -> Want:
    """A version and its model's demand, with the highest level that all of these and the board allow.

    Args:
        situation: Where the device is.
        manifest: The version.
        max_levels: 0 is no limit.
    """
    limits = [level for level in (*max_levels, situation.max_level) if level]
    return Want(manifest, min(limits, default=0), situation.demand.get(manifest.model, 1.0))


def _bytes(situation: Situation, levels: Mapping[str, Levels]) -> int:
    return sum(total_bytes(running.manifest, levels[model]) for model, running in situation.running.items())
