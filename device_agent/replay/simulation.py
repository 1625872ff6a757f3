"""The policy in simulated time: a trace in, what a board would have done out. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from common.manifest import BlobRef, Manifest
from device_agent.replay.trace import Look
from device_agent.residency.board_limits import Rules
from device_agent.residency.policy import lowest_level, target_levels, total_bytes
from device_agent.residency.policy.footprint import full_bytes
from device_agent.residency.policy.hysteresis import Held, State, settle
from device_agent.sensors.readings import Readings
from device_agent.update.fetch_plan import missing_blobs, reachable_levels


@dataclass(frozen=True, slots=True)
class Moment:
    """The board after a look.

    Attributes:
        at_seconds: Since the trace's beginning.
        readings: Of the trace.
        level: Lowest level of any block.
        mean_bits: Mean over the weights of all blocks.
        weights_bytes: Memory that weights take.
        budget_bytes: Memory that the sensors allow them.
        held_bytes: Memory that is held for them.
        base_only: Whether everything is held at its base.
        paged_bytes: Shards read from disk since the beginning, as on disk.
        fetched_bytes: Shards downloaded since the beginning, as on the wire.
        switched: Whether what is held, and not a shard that came, changed the level of any block.
    """

    at_seconds: float
    readings: Readings
    level: int
    mean_bits: float
    weights_bytes: int
    budget_bytes: int
    held_bytes: int
    base_only: bool
    paged_bytes: int
    fetched_bytes: int
    switched: bool


@dataclass(slots=True)
class _Board:
    """Memory and disk of a board with one version, whose bases are there from the beginning."""

    manifest: Manifest
    levels: tuple[int, ...]
    disk: set[str]
    need_bytes: int
    target: tuple[int, ...] = ()
    weights_bytes: int = 0
    mean_bits: float = 0.0
    paged_bytes: int = 0
    fetched_bytes: int = 0
    credit_bytes: float = 0.0
    to_come: list[BlobRef] = field(default_factory=list)
    aim: tuple[int, int] = (-1, 0)

    def hold(self, held: Held) -> bool:
        """Blocks go where what is held says, as far as the disk has their shards; whether any did."""
        aim = (min(held.memory_bytes, self.need_bytes), held.max_level)
        if aim == self.aim:
            return False
        self.aim = aim
        self.target = target_levels(self.manifest, budget_bytes=aim[0], max_level=aim[1])
        missing = missing_blobs(self.manifest, self.target, self.disk.__contains__)
        self.to_come = [ref for _, ref in reversed(missing)]
        return self._page()

    def fetch(self, seconds: float, rate_bytes_per_second: int) -> None:
        """Shards come, in the agent's order, as many as the time allows."""
        self.credit_bytes = self.credit_bytes + seconds * rate_bytes_per_second if self.to_come else 0.0
        came = False
        while self.to_come and self.to_come[-1].size_bytes <= self.credit_bytes:
            ref = self.to_come.pop()
            self.credit_bytes -= ref.size_bytes
            self.fetched_bytes += ref.size_bytes
            self.disk.add(ref.digest)
            came = True
        if came:
            self._page()

    def _page(self) -> bool:
        before = self.levels
        self.levels = reachable_levels(self.manifest, self.target, self.disk.__contains__)
        self.paged_bytes += sum(ref.size_bytes for ref in _lifted(self.manifest, before, self.levels))
        self.weights_bytes = total_bytes(self.manifest, self.levels)
        self.mean_bits = _mean_bits(self.manifest, self.levels)
        return before != self.levels


def simulate(
    looks: Iterable[Look], manifest: Manifest, rules: Rules, *, download_bytes_per_second: int
) -> Iterator[Moment]:
    """What a board with this version does, look by look.

    The trace's board is taken as it was: what it had available beside the weights that it held then. So it
    feels nothing of what the simulated board decides; neither do its battery and its heat.

    Args:
        looks: The trace.
        manifest: The version; its bases are on the disk at the beginning, its shards come while they may.
        rules: From sensors to limits.
        download_bytes_per_second: What the link brings.
    """
    board = _Board(manifest, manifest.base_levels(), _bases(manifest), full_bytes(manifest))
    state: State | None = None
    before_seconds: float | None = None
    for look in looks:
        may, easily = rules.judge(look.readings)
        now_ms = round(look.at_seconds * 1000)
        state, held = settle(state, may, easily, now_ms, pace=rules.pace, need_bytes=board.need_bytes)
        switched = board.hold(held) and before_seconds is not None
        if held.fetch and before_seconds is not None:
            board.fetch(look.at_seconds - before_seconds, download_bytes_per_second)
        before_seconds = look.at_seconds
        yield Moment(
            at_seconds=look.at_seconds,
            readings=look.readings,
            level=lowest_level(manifest, board.levels),
            mean_bits=board.mean_bits,
            weights_bytes=board.weights_bytes,
            budget_bytes=may.memory_bytes,
            held_bytes=held.memory_bytes,
            base_only=bool(held.max_level),
            paged_bytes=board.paged_bytes,
            fetched_bytes=board.fetched_bytes,
            switched=switched,
        )


def _bases(manifest: Manifest) -> set[str]:
    metadata = {manifest.graph.digest, manifest.self_test.digest}
    return metadata | {block.blobs[0].digest for block in manifest.blocks}


def _lifted(manifest: Manifest, before: Sequence[int], after: Sequence[int]) -> Iterator[BlobRef]:
    """The shards that lift blocks from their levels before to those after."""
    for block, low, high in zip(manifest.blocks, before, after, strict=True):
        for ref, level in zip(block.blobs, block.levels(manifest.levels), strict=True):
            if low < level <= high:
                yield ref


def _mean_bits(manifest: Manifest, levels: Sequence[int]) -> float:
    weights = [block.weights for block in manifest.blocks]
    bits = sum(count * level for count, level in zip(weights, levels, strict=True))
    return bits / sum(weights) if sum(weights) else float(manifest.levels[-1])
