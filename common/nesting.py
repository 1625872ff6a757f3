"""Nesting: one integer tensor that is taken apart into the codes of a low level and what lifts them.

Axes do not matter here: every function works element by element on any shape.

*Plain* codes are each other's high bits: ``codes_h = floor(codes_n / 2**(n-h))``. A step between neighbouring
levels then needs exactly their difference in bits. Codes that were rounded otherwise are near that, and a
shard has bits beyond the step: its value is signed, ``codes_n - codes_h * 2**(n-h)``, stored with half its
range added. The bits above the step, the *carry*, say how far the low codes are from the plain ones, so the
way down needs nothing but the codes and the carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError

MIN_LEVEL: Final = 2
MAX_LEVEL: Final = 8


@dataclass(frozen=True, slots=True)
class Nested:
    """A tensor taken apart.

    Attributes:
        base: int8, values in [-2**(b-1), 2**(b-1) - 1] for lowest level b. Codes at the lowest level.
        shards: uint8, one per further level, values in [0, 2**s - 1] where s is the shard's width in bits.
            What lifts the codes from one level to the next, as it is stored.
        shard_bits: The width of each shard; at least its step.
    """

    base: NDArray[np.int8]
    shards: tuple[NDArray[np.uint8], ...]
    shard_bits: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """What lies between two neighbouring levels.

    Attributes:
        low: The level below.
        high: The level above.
        shard_bits: Width of a shard's values.
    """

    low: int
    high: int
    shard_bits: int

    @property
    def bits(self) -> int:
        """Width that a code gains."""
        return self.high - self.low

    @property
    def carry_bits(self) -> int:
        """Width of the carry; 0 where the low codes are the high bits of the high ones."""
        return self.shard_bits - self.bits

    @property
    def carry_zero(self) -> int:
        """The carry of a low code that is the high bits of the high one: half the range."""
        return (1 << self.carry_bits) >> 1

    @property
    def shard_zero(self) -> int:
        """The stored value of a shard that adds nothing: 0 in plain steps, else half the range."""
        return self.carry_zero << self.bits


def check_levels(levels: Sequence[int]) -> tuple[int, ...]:
    """The levels as a tuple.

    Raises:
        InvalidInputError: There are none, one is outside 2..8, or they do not ascend.
    """
    advice = f"Name ascending bit-widths within {MIN_LEVEL}..{MAX_LEVEL}, e.g. 4,6,8."
    if not levels:
        raise InvalidInputError("A version needs at least one level.", advice=advice)
    if len(levels) > MAX_LEVEL - MIN_LEVEL + 1:
        raise InvalidInputError(f"{len(levels)} levels are more than there are.", advice=advice)
    if any(not MIN_LEVEL <= level <= MAX_LEVEL for level in levels):
        raise InvalidInputError(f"Levels {list(levels)} leave {MIN_LEVEL}..{MAX_LEVEL}.", advice=advice)
    if any(low >= high for low, high in pairwise(levels)):
        raise InvalidInputError(f"Levels {list(levels)} do not ascend.", advice=advice)
    return tuple(levels)


def clamp_level(levels: Sequence[int], wanted: int) -> int:
    """The highest of some ascending levels that is no higher than the wanted one; else the lowest."""
    return max((level for level in levels if level <= wanted), default=levels[0])


def steps_of(levels: Sequence[int], shard_bits: Sequence[int] = ()) -> tuple[Step, ...]:
    """The steps between levels, lowest first.

    Args:
        levels: Ascending bit-widths.
        shard_bits: The width of each step's shard; nothing for plain steps.

    Raises:
        InvalidInputError: A shard is narrower than its step, wider than a byte, or one lacks its width.
    """
    widths = tuple(shard_bits) or tuple(high - low for low, high in pairwise(levels))
    if len(widths) != len(levels) - 1:
        raise InvalidInputError(f"Levels {list(levels)} and shards of {list(widths)} bits do not match.")
    steps = tuple(Step(low, high, width) for (low, high), width in zip(pairwise(levels), widths, strict=True))
    if any(not step.bits <= step.shard_bits <= MAX_LEVEL for step in steps):
        raise InvalidInputError(f"Shards of {list(widths)} bits do not lift between levels {list(levels)}.")
    return steps


def lower(codes: NDArray[np.int8], step_bits: int) -> NDArray[np.int8]:
    """Codes ``step_bits`` levels down: ``floor(codes / 2**step_bits)``, int8, same shape."""
    return np.right_shift(codes, np.int8(step_bits))


def lift(
    codes: NDArray[np.int8], shard: NDArray[np.uint8], step_bits: int, *, shard_zero: int = 0
) -> NDArray[np.int8]:
    """Codes one level up: ``codes * 2**step_bits + shard - shard_zero``, int8, same shape."""
    lifted = np.left_shift(codes, np.int8(step_bits))
    if not shard_zero:
        return np.bitwise_or(lifted, shard.view(np.int8), out=lifted)
    # Modulo 256, in which the way there may leave the range while its end lies within.
    unsigned = lifted.view(np.uint8)
    unsigned += shard
    unsigned -= np.uint8(shard_zero)
    return lifted


def nest(codes: Sequence[NDArray[np.int8]], levels: Sequence[int], shard_bits: Sequence[int] = ()) -> Nested:
    """What lifts each level's codes to the next.

    Args:
        codes: int8, one per level, lowest first, all of one shape; each within the range of its level.
        levels: Ascending bit-widths.
        shard_bits: The width of each shard; nothing for plain steps.

    Returns:
        Base and shards; ``join`` of them is the codes of each level, bit for bit.

    Raises:
        InvalidInputError: Two neighbouring levels are further apart than a shard of that width can tell.
    """
    steps = steps_of(levels, shard_bits)
    shards = []
    for step, (low, high) in zip(steps, pairwise(codes), strict=True):
        values = high - np.left_shift(low.astype(np.int16), step.bits) + np.int16(step.shard_zero)
        if values.size and (int(values.min()) < 0 or int(values.max()) >> step.shard_bits):
            raise InvalidInputError(f"Codes at {step.low} and {step.high} bits are too far apart.")
        shards.append(values.astype(np.uint8))
    return Nested(codes[0], tuple(shards), tuple(step.shard_bits for step in steps))


def split(codes: NDArray[np.int8], levels: Sequence[int]) -> Nested:
    """Take full-bit codes apart in plain steps.

    Args:
        codes: int8, any shape, values in [-2**(n-1), 2**(n-1) - 1] for n = ``levels[-1]``. Not modified.
        levels: Ascending bit-widths within 2..8.

    Returns:
        Base and shards; ``join`` of them is ``codes``, bit for bit.

    Raises:
        InvalidInputError: The levels are no levels, or a value does not fit the last of them.
    """
    levels = check_levels(levels)
    full_bits = levels[-1]
    half = 1 << (full_bits - 1)
    if codes.size and (int(codes.min()) < -half or int(codes.max()) >= half):
        raise InvalidInputError(f"Codes leave the range of {full_bits} bits.")
    shards = []
    for low, high in pairwise(levels):
        at_high = lower(codes, full_bits - high)
        shards.append(np.bitwise_and(at_high.view(np.uint8), np.uint8((1 << (high - low)) - 1)))
    widths = tuple(high - low for low, high in pairwise(levels))
    return Nested(lower(codes, full_bits - levels[0]), tuple(shards), widths)


def join(
    base: NDArray[np.int8],
    shards: Sequence[NDArray[np.uint8]],
    levels: Sequence[int],
    shard_bits: Sequence[int] = (),
) -> NDArray[np.int8]:
    """Codes at the level that the shards at hand reach.

    Args:
        base: int8 codes at ``levels[0]``.
        shards: The first shards, in order; fewer than ``len(levels) - 1`` give a part-bit level.
        levels: All levels of the version.
        shard_bits: The width of each shard of the version; nothing for plain steps.

    Returns:
        int8 codes at ``levels[len(shards)]``, same shape as ``base``.
    """
    codes = base
    for shard, step in zip(shards, steps_of(levels, shard_bits), strict=False):
        codes = lift(codes, shard, step.bits, shard_zero=step.shard_zero)
    return codes
