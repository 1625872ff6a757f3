"""What each shard is worth, and the order of lifts that follows: the most fidelity per byte first. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from common.manifest import Block, Manifest

# Where nobody measured: the output's error at so many bits, in millionths of its energy, is this times
# 4 ** -bits. A bit less is twice the step between codes, so four times the energy. MiniLM: 0.14 at 4 bits,
# 0.01 at 6.
_ERROR_AT_NO_BITS: Final = 37_000_000.0


@dataclass(frozen=True, slots=True)
class Lift:
    """A shard that a block may go up by.

    Attributes:
        block: The block's index in its version.
        low, level: From where to where.
        gain: What it takes out of the output's error, in millionths of the output's energy.
        size_bytes: What it costs, at least 1: memory or disk, as the caller counts.
        worth: Gain per byte, by which it takes its turn. A shard that is worth more than the one below it
            counts with it as one step, since it is not to be had without.
    """

    block: int
    low: int
    level: int
    gain: float
    size_bytes: int
    worth: float = 0.0


def gains_of(manifest: Manifest) -> tuple[tuple[float, ...], ...]:
    """What each shard of each block gains, in millionths.

    As measured on the server. A version of which nothing was measured, or nothing found, is taken to gain
    what rounding noise says, each block by its share of the weights.
    """
    if any(any(block.gains) for block in manifest.blocks):
        return tuple(
            tuple(map(float, block.gains)) or (0.0,) * (len(block.blobs) - 1) for block in manifest.blocks
        )
    weights = max(1, sum(block.weights for block in manifest.blocks))
    return tuple(tuple(_expected(block, manifest.levels, weights)) for block in manifest.blocks)


def is_measured(manifest: Manifest) -> bool:
    """Whether anybody knows which blocks matter more than others."""
    return any(any(block.gains) for block in manifest.blocks)


def valued(lifts: Sequence[Lift]) -> Iterator[Lift]:
    """One block's lifts, lowest first, with what each is worth: no more than the one below it.

    The upper convex hull of gain over bytes.
    """
    pools: list[list[Lift]] = []
    for lift in lifts:
        pools.append([lift])
        while len(pools) > 1 and _density(pools[-1]) > _density(pools[-2]):
            upper = pools.pop()
            pools[-1] += upper
    for pool in pools:
        worth = _density(pool)
        for lift in pool:
            yield Lift(lift.block, lift.low, lift.level, lift.gain, lift.size_bytes, worth)


def levelled(lifts: Sequence[Lift]) -> Iterator[Lift]:
    """All lifts of a version that nobody measured, each worth what its level is: level goes after level."""
    worth = float("inf")
    for level in sorted({lift.level for lift in lifts}):
        step = [lift for lift in lifts if lift.level == level]
        worth = min(worth, _density(step))
        for lift in step:
            yield Lift(lift.block, lift.low, lift.level, lift.gain, lift.size_bytes, worth)


def _density(lifts: Sequence[Lift]) -> float:
    return sum(lift.gain for lift in lifts) / sum(lift.size_bytes for lift in lifts)


def _expected(block: Block, levels: Sequence[int], weights: int) -> Iterator[float]:
    for low, high in pairwise(block.levels(levels)):
        yield _ERROR_AT_NO_BITS * (4.0**-low - 4.0**-high) * block.weights / weights
