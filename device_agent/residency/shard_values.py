"""The values of a blob, some at a time, so that no array of all of them comes into memory."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.coding.values import Form, decode_values
from common.nesting import Step
from common.packing import SPREAD_WIDTHS, check_packed, spread_into
from device_agent.residency.codes import CHUNK, Values

_WORD_BYTES: Final = 8


class _Whole:
    """Values that had to be decoded at once."""

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self._values = values

    def read(self, start: int, size: int) -> NDArray[np.uint8]:
        return self._values[start : start + size]


class _Packed:
    """Values that lie in the blob as packed bits, of a width that divides a byte."""

    def __init__(self, packed: NDArray[np.uint8], bits: int) -> None:
        self._packed = packed
        self._bits = bits
        self._spread = np.empty((2, CHUNK + _WORD_BYTES * 2), np.uint8)

    def read(self, start: int, size: int) -> NDArray[np.uint8]:
        first, before = divmod(start, _WORD_BYTES // self._bits)
        some = self._packed[first : -(-(start + size) * self._bits // _WORD_BYTES)]
        count = some.size * _WORD_BYTES // self._bits
        values: NDArray[np.uint8] = self._spread[0, :count]
        spread_into(some, self._bits, values, self._spread[1, :count])
        return values[before : before + size]


def shard_values(form: int, data: memoryview, step: Step, count: int) -> Values:
    """The values of one part in a shard.

    Raises:
        IntegrityError: The data are not so many values of that width in that form.
    """
    if form == Form.PACKED and step.shard_bits in SPREAD_WIDTHS:
        packed = np.frombuffer(data, np.uint8)
        check_packed(packed, step.shard_bits, count)
        return _Packed(packed, step.shard_bits)
    return _Whole(decode_values(form, data, step.shard_bits, count, step.carry_bits))
