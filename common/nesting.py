"""Nesting: one integer tensor whose high bits are themselves the codes of lower levels.

Axes do not matter here: every function works element by element on any shape.
``codes_h = floor(codes_n / 2**(n-h))`` (DESIGN terms: level, codes), so a step between neighbouring levels
needs exactly their difference in bits, and full-bit codes are untouched.
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
        shards: uint8, one per further level, values in [0, 2**s - 1] where s is the step in bits.
            Bits that lift the codes from one level to the next.
    """

    base: NDArray[np.int8]
    shards: tuple[NDArray[np.uint8], ...]


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


def lower(codes: NDArray[np.int8], step_bits: int) -> NDArray[np.int8]:
    """Codes ``step_bits`` levels down: ``floor(codes / 2**step_bits)``, int8, same shape."""
    return np.right_shift(codes, np.int8(step_bits))


def lift(codes: NDArray[np.int8], shard: NDArray[np.uint8], step_bits: int) -> NDArray[np.int8]:
    """Codes one level up: ``codes * 2**step_bits + shard``, int8, same shape."""
    return np.bitwise_or(np.left_shift(codes, np.int8(step_bits)), shard.view(np.int8))


def split(codes: NDArray[np.int8], levels: Sequence[int]) -> Nested:
    """Take full-bit codes apart.

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
    return Nested(lower(codes, full_bits - levels[0]), tuple(shards))


def join(
    base: NDArray[np.int8], shards: Sequence[NDArray[np.uint8]], levels: Sequence[int]
) -> NDArray[np.int8]:
    """Codes at the level that the shards at hand reach.

    Args:
        base: int8 codes at ``levels[0]``.
        shards: The first shards, in order; fewer than ``len(levels) - 1`` give a part-bit level.
        levels: All levels of the version.

    Returns:
        int8 codes at ``levels[len(shards)]``, same shape as ``base``.
    """
    codes = base
    for shard, (low, high) in zip(shards, pairwise(levels), strict=False):
        codes = lift(codes, shard, high - low)
    return codes
