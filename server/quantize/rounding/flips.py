"""SQuant's flips: they take the error of rounding to the nearest out of each kernel and each channel.

Guo et al., SQuant (ICLR 2022), section 3: after rounding each element to the nearest code (E), every kernel
turns round its least wronged elements until its errors add up to half a step at most (K); then every channel
does the same with one element of each kernel (C): the next in the kernel's order, or, where the kernel went
past zero, the last that it had turned round. Where a kernel is one weight, K has nothing to do, and C has
every weight to choose from.

All groups are worked on at once. A group's candidates are sorted as whole numbers, the error above, the place
in the group below, so that one sort gives both the order and who stands where. Of equal errors the first in
the group goes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Ints: TypeAlias = NDArray[np.int32]
Errors: TypeAlias = NDArray[np.float32] | NDArray[np.int32]
Sums: TypeAlias = NDArray[np.floating[Any]] | NDArray[np.integer[Any]]
Keys: TypeAlias = NDArray[np.unsignedinteger[Any]]


def flip(codes: Ints, error: Errors, unit: int, bits: int) -> NDArray[np.int8]:
    """Codes whose errors nearly cancel in every kernel and every channel.

    Args:
        codes: int32 [channels, kernels, kernel_weights]. The nearest whole numbers. Used up.
        error: float32 or int32 of the same shape. ``unit`` times what the codes are too high by; at most half
            a unit either way.
        unit: What one code is in the errors' measure; 1 for floats.
        bits: Width of a code, 2..8. A code within it is not turned round to one beyond it.

    Returns:
        int8 of the same shape, in [-2**(bits-1), 2**(bits-1) - 1], each at most one from where it was.
    """
    half = 1 << (bits - 1)
    stuck = ((codes >= half - 1) & (error < 0)) | ((codes <= -half) & (error > 0))
    movable = np.where(stuck, error.dtype.type(0), error)
    channels, kernels, kernel_weights = codes.shape
    if kernel_weights > 1:
        _flip_kernels(codes, error, movable, unit)
    else:
        flips = _choose(movable.reshape(channels, kernels), error.sum(axis=(1, 2)), unit)
        codes -= flips.signed().reshape(codes.shape)
    return np.clip(codes, -half, half - 1).astype(np.int8)


@dataclass(frozen=True, slots=True)
class _Flips:
    """What each group turns round.

    Attributes:
        chosen: bool [groups, members].
        sign: int32 [groups]. 1 where the group's codes are too high, so that the chosen go down; else -1.
        next_member: int64 [groups]. Who is next for the group's parent to turn round.
        next_error: As the errors, [groups]. That member's error as it stands now; 0 where nobody is next.
    """

    chosen: NDArray[np.bool_]
    sign: Ints
    next_member: NDArray[np.int64]
    next_error: Errors

    def signed(self) -> Ints:
        """What to take off the codes: int32 [groups, members]."""
        return self.chosen * self.sign[:, None]


def _flip_kernels(codes: Ints, error: Errors, movable: Errors, unit: int) -> None:
    """Steps K and C of whole channels, in place."""
    channels, kernels, members = codes.shape
    inner = _choose(movable.reshape(-1, members), error.reshape(-1, members).sum(axis=1), unit)
    turned = inner.signed().reshape(codes.shape)
    codes -= turned
    left = error.sum(axis=(1, 2)) - unit * turned.sum(axis=(1, 2))
    outer = _choose(inner.next_error.reshape(channels, kernels), left, unit)
    channel, kernel = np.nonzero(outer.chosen)
    member = inner.next_member[channel * kernels + kernel]
    codes[channel, kernel, member] -= outer.sign[channel]


def _choose(movable: Errors, total: Sums, unit: int) -> _Flips:
    """As many flips as bring each group's total nearest to zero, the largest errors first.

    Args:
        movable: [groups, members]. Errors; 0 where a member may not be turned round.
        total: [groups]. The sum of the group's errors, of those too that may not.
        unit: What a flip changes the total by.
    """
    groups, members = movable.shape
    sign = np.where(total > 0, 1, -1).astype(np.int32)
    gain = np.maximum(movable * sign[:, None].astype(movable.dtype), 0)
    place_bits = (members - 1).bit_length()
    keys, order = _sorted_keys(gain, place_bits, unit)
    amount = np.abs(total)
    wanted = np.minimum(np.rint(amount / unit).astype(np.int64), members)
    past = (wanted > 0) & (wanted * unit >= amount)

    group = np.arange(groups)
    last = order[group, np.minimum(members - wanted, members - 1)]
    least = np.where(wanted > 0, last, np.iinfo(keys.dtype).max)
    chosen = (keys >= least[:, None]) & (gain > 0)
    rank = np.where(past, wanted, np.minimum(wanted + 1, members))
    candidate = order[group, members - rank]
    place = (candidate & keys.dtype.type((1 << place_bits) - 1)).astype(np.int64)
    next_member = members - 1 - place
    size = gain[group, next_member]
    can = (size > 0) & (amount > 0) & (past | (wanted < members))
    next_error = np.where(can, np.where(past, size - unit, size), 0).astype(gain.dtype)
    return _Flips(chosen, sign, next_member, next_error * sign.astype(gain.dtype))


def _sorted_keys(gain: Errors, place_bits: int, unit: int) -> tuple[Keys, Keys]:
    """Each member's key, and every group's keys in ascending order.

    A key is the gain, as a number that sorts alike, times ``2**place_bits``, plus how many members follow.
    """
    members = gain.shape[1]
    if gain.dtype == np.float32:
        sortable, width = gain.view(np.uint32), 32  # floats from 0 up sort as their bits do
    else:
        sortable, width = gain.view(np.uint32), unit.bit_length()
    dtype = np.uint32 if width + place_bits <= 32 else np.uint64  # noqa: PLR2004
    keys: Keys = sortable.astype(dtype)
    keys <<= dtype(place_bits)
    keys |= np.arange(members - 1, -1, -1).astype(dtype)
    return keys, np.sort(keys, axis=1)
