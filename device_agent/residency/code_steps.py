"""Codes in memory, any number of levels up or down, in chunks that stay in the cache.

Here codes have ``2**(level-1)`` added, as in ``bit_planes``. On the way up a carry is kept where the low
codes are not simply the high bits of the high ones; it takes exactly the bits that the shard has beyond its
step, so a block holds no more than its base and shards do, and the way down is memory's alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from common.errors import IntegrityError
from common.nesting import Step
from device_agent.residency.bit_planes import BYTE_BITS, PackedCodes, PlaneWriter, shared_planes, shift_up
from device_agent.residency.codes import CHUNK, ByteCodes, Codes, Movable, Shards
from device_agent.residency.courtesy import REQUESTS
from device_agent.residency.room import lasting_bytes


def lift_codes(
    codes: Codes, shards: Shards, *, unpacked: bool
) -> tuple[Codes, tuple[PackedCodes | None, ...]]:
    """Codes some levels up, and the carries that lead back, None for a step that needs none.

    Args:
        codes: At the first step's lower level. Stay as they are.
        shards: Each step and its values, lowest first.
        unpacked: Whether the result takes a byte a code.

    Raises:
        IntegrityError: A code leaves the range of its level.
    """
    level, plain = shards[-1][0].high, not any(step.carry_bits for step, _ in shards)
    if plain and unpacked and isinstance(codes, Movable):
        return codes.moved(level, shards), (None,) * len(shards)
    high = _high_planes(codes, level) if plain and not unpacked else ()
    lifted = _Moved(codes, level, unpacked=unpacked, high=high)
    carries = [PlaneWriter(step.carry_bits, codes.count) if step.carry_bits else None for step, _ in shards]
    for start, some in lifted.chunks():
        for (step, values), carry in zip(shards, carries, strict=True):
            shard = values.read(start, some.size)
            if carry is None:
                shift_up(some, step.bits)
                np.bitwise_or(some, shard, out=some)
            else:
                some[:] = _lift_carried(some, shard, step)
                carry.write(start, np.right_shift(shard, step.bits))
    return lifted.codes(), tuple(carry.codes() if carry else None for carry in carries)


def lower_codes(
    codes: Codes,
    carries: Sequence[PackedCodes | None],
    levels: Sequence[int],
    level: int,
    *,
    unpacked: bool,
) -> Codes:
    """Codes at a lower level, exactly those that they were lifted from.

    Args:
        codes: The codes. Stay as they are.
        carries: One per step from the lowest level up to that of the codes; fewer where all are plain.
        levels: All levels of the block, or those up to that of the codes.
        level: The wanted one, at most that of the codes.
        unpacked: Whether the result takes a byte a code.
    """
    if not unpacked and isinstance(codes, PackedCodes) and not any(carries):
        shared = shared_planes(level, codes.level)
        if shared:
            return PackedCodes(level, codes.count, codes.planes[:shared])
    if unpacked and isinstance(codes, Movable) and not any(carries):
        return codes.moved(level, ())
    lowered = _Moved(codes, level, unpacked=unpacked)
    steps = steps_down(codes.level, carries, levels, level)
    for start, some in lowered.chunks():
        for step_bits, carry in steps:
            np.right_shift(some, step_bits, out=some)
            if carry:
                moved = np.empty_like(some)
                carry.read_into(start, moved)
                np.subtract(some, moved, out=some)
                np.add(some, carry_zero(carry), out=some)
    return lowered.codes()


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


def signed_chunks(codes: Codes) -> Iterator[NDArray[np.int8]]:
    """The codes, int8 in [-2**(level-1), 2**(level-1) - 1], some at a time, each valid until the next."""
    source = _readable(codes)
    scratch = np.empty(min(CHUNK, codes.count), np.uint8)
    for start in range(0, codes.count, CHUNK):
        some = scratch[: codes.count - start]
        source.read_into(start, some)
        yield np.subtract(some, 1 << (codes.level - 1), out=some).view(np.int8)
        REQUESTS.give_way()


class _Moved:
    """Codes on their way to another level and form.

    Args:
        codes: Where they come from.
        level: Where they go.
        unpacked: Whether they shall take a byte each there.
        high: Their first planes there, where those are there already.
    """

    def __init__(
        self, codes: Codes, level: int, *, unpacked: bool, high: Sequence[NDArray[np.uint8]] = ()
    ) -> None:
        self._source = _readable(codes)
        self._level, self._unpacked = level, unpacked
        self._planes: PlaneWriter | None = None
        if unpacked and isinstance(self._source, ByteCodes) and self._source is not codes:
            self._room = self._source.values  # an executor's form came as an array of our own
        elif unpacked:
            self._room = np.empty(codes.count, np.uint8)
        elif level == BYTE_BITS:
            self._room = lasting_bytes(codes.count)  # their only plane
        else:
            self._room = np.empty(min(CHUNK, codes.count), np.uint8)
            self._planes = PlaneWriter(level, codes.count, high)

    def chunks(self) -> Iterator[tuple[int, NDArray[np.uint8]]]:
        """Where each chunk starts, and its codes as they were; what the caller makes of them is kept."""
        for start in range(0, self._source.count, CHUNK):
            place = 0 if self._planes else start
            some = self._room[place : place + min(CHUNK, self._source.count - start)]
            self._source.read_into(start, some)
            yield start, some
            if self._planes:
                self._planes.write(start, some)
            REQUESTS.give_way()

    def codes(self) -> Codes:
        """All of them, at their new level."""
        if self._planes:
            return self._planes.codes()
        if self._unpacked:
            return ByteCodes(self._level, self._room)
        return PackedCodes(self._level, self._room.size, (self._room,))


def _readable(codes: Codes) -> PackedCodes | ByteCodes:
    """The same codes in a form that is read in chunks."""
    if isinstance(codes, PackedCodes | ByteCodes):
        return codes
    return ByteCodes(codes.level, codes.unsigned())


def _high_planes(codes: Codes, level: int) -> tuple[NDArray[np.uint8], ...]:
    """Those planes of codes that are also the first of the same codes in plain steps up."""
    if not isinstance(codes, PackedCodes):
        return ()
    return codes.planes[: shared_planes(codes.level, level)]


def _lift_carried(unsigned: NDArray[np.uint8], shard: NDArray[np.uint8], step: Step) -> NDArray[np.int16]:
    lifted = unsigned.astype(np.int16)
    lifted <<= step.bits
    lifted += shard
    lifted -= step.shard_zero
    if lifted.size and (int(lifted.min()) < 0 or int(lifted.max()) >> step.high):
        raise IntegrityError(f"A shard lifts a code beyond {step.high} bits.")
    return lifted
