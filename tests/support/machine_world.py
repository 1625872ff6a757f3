"""A world that does what the update state machine says, and minds what must never be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from common.manifest import Manifest
from device_agent.residency.policy import total_bytes
from device_agent.store.records import AgentRecord, Failure, Goal, Release
from device_agent.update.allowance import EVERYTHING, Allowance
from device_agent.update.fetch_plan import has_base, missing_blobs
from device_agent.update.goal_intake import restated
from device_agent.update.machine import next_step
from device_agent.update.situation import Running, Situation
from device_agent.update.steps import (
    Activate,
    Drop,
    FetchBlobs,
    FetchManifest,
    Hold,
    Page,
    Refuse,
    Share,
    Step,
    Withheld,
)
from tests.support.fleet import TestVersion

MOST_STEPS = 150
KEY = "ab" * 32


class World:
    """What the steps act on.

    Attributes:
        failing: Digests of manifests whose versions do not pass their self-test.
        steps: What was done.
    """

    def __init__(
        self, versions: Sequence[TestVersion], goals: Sequence[Goal], budget_bytes: int, blobs: set[str]
    ) -> None:
        self._known = {version.release.manifest_digest: version.manifest for version in versions}
        self.record = AgentRecord("board", KEY, seen_generation=1)
        self.running: dict[str, Running] = {}
        self.blobs, self.manifests = blobs, set[str]()
        self.given_up: frozenset[str] = frozenset()
        self.budget_bytes = budget_bytes
        self.allowance: Allowance = EVERYTHING
        self.max_level = 0
        self.demand: dict[str, float] = {}
        self.failing: set[str] = set()
        self.steps: list[Step] = []
        self.want(*goals)

    def want(self, *goals: Goal) -> None:
        """The server wants these, and nothing else."""
        slots = restated(self.record.slots, goals, self.running)
        generation = max((goal.generation for goal in goals), default=self.record.seen_generation)
        self.record = replace(self.record, slots=slots, seen_generation=generation)

    def manifest(self, release: Release) -> Manifest | None:
        digest = release.manifest_digest
        return self._known[digest] if digest in self.manifests else None

    def has(self, digest: str) -> bool:
        return digest in self.blobs

    def situation(self) -> Situation:
        return Situation(
            self.record,
            self.running,
            self.manifest,
            self.has,
            self.given_up,
            self.budget_bytes,
            self.allowance,
            max_level=self.max_level,
            demand=self.demand,
        )

    def play(self) -> None:
        """Step after step until nothing is left to do."""
        for _ in range(MOST_STEPS):
            step = next_step(self.situation())
            self.steps.append(step)
            if isinstance(step, Hold | Withheld):
                return
            self.do(step)
        raise AssertionError(f"no end: {[type(step).__name__ for step in self.steps]}")

    def do(self, step: Step) -> None:
        match step:
            case FetchManifest():
                assert step.release.manifest_digest not in self.manifests
                self.manifests.add(step.release.manifest_digest)
            case FetchBlobs():
                self._fetch(step)
            case Activate():
                self._activate(step)
            case Page():
                self._page(step.model, step.levels)
            case Share():
                self._share(step)
            case Drop():
                wanted = {goal.release.model for goal in self.record.goals}
                assert step.model not in wanted
                assert wanted & set(self.running), "a device does not fall silent"
                del self.running[step.model]
            case Refuse():
                self._fail(step.goal.release)
            case Hold() | Withheld():
                pass

    def taken_bytes(self) -> int:
        """What runs may take at this moment: its levels, or its share where that is more."""
        return sum(
            max(total_bytes(running.manifest, running.levels), running.memory_bytes)
            for running in self.running.values()
        )

    def bases_bytes(self, *more: Manifest) -> int:
        """What the bases of what runs, and of others, take."""
        manifests = [*(running.manifest for running in self.running.values()), *more]
        return sum(total_bytes(manifest, manifest.base_levels()) for manifest in manifests)

    def _fetch(self, step: FetchBlobs) -> None:
        assert self.allowance.hold is None
        if self.allowance.shard_hold is not None:
            assert step.stage == step.manifest.base_levels()
        missing = missing_blobs(step.manifest, step.stage, self.has)
        assert missing, "a fetch of nothing"
        assert not {item.digest for item, _ in missing} & self.given_up
        self.blobs |= {item.digest for item, _ in missing}

    def _activate(self, step: Activate) -> None:
        assert has_base(step.manifest, self.has)
        assert not missing_blobs(step.manifest, step.levels, self.has)
        for model, levels in step.room:
            self._page(model, levels)
        for model, running in self.running.items():
            lean_bytes = total_bytes(running.manifest, running.levels)
            self.running[model] = replace(running, memory_bytes=lean_bytes)
        beside_bytes = self.taken_bytes() + total_bytes(step.manifest, step.levels)
        assert beside_bytes <= max(self.budget_bytes, self.bases_bytes(step.manifest))
        release = step.installed.release
        if release.manifest_digest in self.failing:
            self._fail(release)
            return
        slot = self.record.slot(release.model)
        slot = replace(slot, active=step.installed, previous=slot.active, failure=None)
        self.record = replace(self.record, slots=self.record.with_slot(slot))
        self.running[release.model] = Running(step.installed, step.manifest, step.levels)

    def _page(self, model: str, levels: tuple[int, ...]) -> None:
        running = self.running[model]
        before_bytes = self.taken_bytes()
        assert levels != running.levels
        assert all(
            self.has(ref.digest)
            for block, now, then in zip(running.manifest.blocks, running.levels, levels, strict=True)
            for reached, ref in zip(block.levels(running.manifest.levels), block.blobs, strict=True)
            if now < reached <= then
        ), "what goes up is on the disk"
        self.running[model] = replace(running, levels=levels)
        assert self.taken_bytes() <= max(self.budget_bytes, self.bases_bytes(), before_bytes)

    def _share(self, step: Share) -> None:
        running = self.running[step.model]
        before_bytes = self.taken_bytes()
        assert step.memory_bytes >= total_bytes(running.manifest, running.levels)
        self.running[step.model] = replace(running, memory_bytes=step.memory_bytes)
        assert self.taken_bytes() <= max(self.budget_bytes, self.bases_bytes(), before_bytes)

    def _fail(self, release: Release) -> None:
        slot = self.record.slot(release.model)
        assert slot.goal is not None
        failure = Failure(slot.goal.generation, release, "self_test_failed", "told to")
        self.record = replace(self.record, slots=self.record.with_slot(replace(slot, failure=failure)))
