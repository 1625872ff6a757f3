"""The level of each block that a memory budget buys: the most fidelity per byte first. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from common.manifest import Manifest
from device_agent.residency.policy.footprint import block_bytes, total_bytes
from device_agent.residency.policy.worth import Lift, gains_of, is_measured, levelled, valued


@dataclass(frozen=True, slots=True)
class Want:
    """A version that shall be in memory beside others.

    Attributes:
        manifest: The version.
        max_level: Highest level wanted, but for bases above it; 0 for no limit.
        demand: How much it is asked for, in any unit that is the same for all; at least 0.
    """

    manifest: Manifest
    max_level: int = 0
    demand: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.demand < math.inf:
            raise ValueError(f"a demand of {self.demand} is none")


def target_levels(manifest: Manifest, *, budget_bytes: int, max_level: int = 0) -> tuple[int, ...]:
    """The level of each block that a budget allows one version; see ``joint_targets``.

    Args:
        manifest: The version.
        budget_bytes: Memory for weights; the base is taken even where it alone exceeds this.
        max_level: Highest level wanted, but for bases above it; 0 for no limit.
    """
    return joint_targets([Want(manifest, max_level)], budget_bytes)[0]


def joint_targets(wants: Sequence[Want], budget_bytes: int) -> tuple[tuple[int, ...], ...]:
    """The level of each block of each version that a common budget allows.

    Every version has its base, even where the bases alone exceed the budget. What they leave goes to the
    lifts of all blocks of all versions, those first that take the most error out of answers, times demand,
    for each byte of memory. Their order does not depend on the budget, and the first that does not fit ends
    the walk, so more budget never lowers a block. A version of which no gains are known goes level by level,
    front to back.

    So levels mix: blocks that matter are at 8 bits while others wait at 4. Each block takes part in an answer
    at its own level. The answer is called by the lowest of them (``lowest_level``), and is nearer to the
    model's than that level throughout would be; how much nearer the gains say, which add up as far as errors
    of different blocks are independent.

    Args:
        wants: The versions; of equals the first comes first.
        budget_bytes: Memory for the weights of all of them.
    """
    targets = [list(want.manifest.base_levels()) for want in wants]
    left_bytes = budget_bytes - sum(
        total_bytes(want.manifest, base) for want, base in zip(wants, targets, strict=True)
    )
    turns = [(index, lift) for index, want in enumerate(wants) for lift in memory_lifts(want)]
    turns.sort(key=lambda turn: (-turn[1].worth * wants[turn[0]].demand, turn[1].level, turn[0]))
    for index, lift in turns:
        if lift.size_bytes > left_bytes:
            break
        left_bytes -= lift.size_bytes
        targets[index][lift.block] = lift.level
    return tuple(map(tuple, targets))


def memory_lifts(want: Want) -> list[Lift]:
    """All lifts that are wanted of a version, block by block, with what each is worth a byte of memory."""
    manifest, gains = want.manifest, gains_of(want.manifest)
    lifts = [
        [lift for lift in _lifts(manifest, index, gains[index]) if not 0 < want.max_level < lift.level]
        for index in range(len(manifest.blocks))
    ]
    if not is_measured(manifest):
        return list(levelled([lift for of_block in lifts for lift in of_block]))
    return [lift for of_block in lifts for lift in valued(of_block)]


def lowest_level(manifest: Manifest, chosen: Sequence[int]) -> int:
    """The level that answers deserve to be called: the lowest of any block with quantized tensors.

    A version without any runs in full at every time.
    """
    quantized = [level for block, level in zip(manifest.blocks, chosen, strict=True) if block.tensors]
    return min(quantized, default=manifest.levels[-1])


def _lifts(manifest: Manifest, index: int, gains: Sequence[float]) -> Iterator[Lift]:
    block = manifest.blocks[index]
    for (low, high), gain in zip(pairwise(block.levels(manifest.levels)), gains, strict=True):
        size_bytes = block_bytes(block, manifest.levels, high) - block_bytes(block, manifest.levels, low)
        yield Lift(index, low, high, gain, max(1, size_bytes))
