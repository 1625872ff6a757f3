"""Codes in memory, one level up and any number down.

Here codes have ``2**(level-1)`` added, as in ``bit_planes``. On the way up a carry is kept where the low
codes are not simply the high bits of the high ones; it takes exactly the bits that the shard has beyond its
step, so a block holds no more than its base and shards do, and the way down is memory's alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from common.errors import IntegrityError
from common.nesting import Step
from device_agent.residency.bit_planes import PackedCodes, pack_codes, unpack_codes
from device_agent.residency.codes import Codes


def lift_codes(
    unsigned: NDArray[np.uint8], shard: NDArray[np.uint8], step: Step
) -> tuple[NDArray[np.uint8], PackedCodes | None]:
    """Codes one level up, and the carry that leads back, if one is needed.

    Args:
        unsigned: uint8 [count] at ``step.low``. Plain steps reuse it.
        shard: uint8 [count], as stored.
        step: What lies between the levels.

    Raises:
        IntegrityError: A code leaves the range of ``step.high`` bits.
    """
    if not step.carry_bits:
        np.left_shift(unsigned, np.uint8(step.bits), out=unsigned)
        return np.bitwise_or(unsigned, shard, out=unsigned), None
    lifted = unsigned.astype(np.int16)
    lifted <<= step.bits
    lifted += shard
    lifted -= step.shard_zero
    if lifted.size and (int(lifted.min()) < 0 or int(lifted.max()) >> step.high):
        raise IntegrityError(f"A shard lifts a code beyond {step.high} bits.")
    return lifted.astype(np.uint8), pack_codes(np.right_shift(shard, np.uint8(step.bits)), step.carry_bits)


def lower_codes(
    codes: Codes, carries: Sequence[PackedCodes | None], levels: Sequence[int], level: int
) -> NDArray[np.uint8]:
    """Codes at a lower level, exactly those that they were lifted from: uint8 [count], an array of its own.

    Args:
        codes: The codes.
        carries: One per step from the lowest level up to that of the codes; fewer where all are plain.
        levels: All levels of the block, or those up to that of the codes.
        level: The wanted one, at most that of the codes.
    """
    unsigned = codes.unsigned()
    for step_bits, carry in steps_down(codes.level, carries, levels, level):
        np.right_shift(unsigned, np.uint8(step_bits), out=unsigned)
        if carry:
            unsigned -= unpack_codes(carry)
            unsigned += np.uint8(carry_zero(carry))
    return unsigned


def steps_down(
    top: int, carries: Sequence[PackedCodes | None], levels: Sequence[int], level: int
) -> list[tuple[int, PackedCodes | None]]:
    """Width and carry of each step of a block from a level down to another; plain ones are one.

    Highest first.
    """
    if not any(carries):
        return [(top - level, None)] if top > level else []
    at = range(levels.index(level), levels.index(top))
    bits = [high - low for low, high in pairwise(levels)]
    return [(bits[index], carries[index]) for index in reversed(at)]


def carry_zero(carry: PackedCodes) -> int:
    """The stored value of a carry that changes nothing."""
    return 1 << (carry.level - 1)
