"""The values of a weight, some rows at a time, wherever they are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from device_agent.residency.courtesy import REQUESTS

_CHUNK: Final = 1 << 18  # values at a time: they stay in the cache, and calls are few
_BLOCK: Final = 64  # rows that engines hold side by side, at most


class Rows(Protocol):
    """int8 [rows, columns]."""

    def read(self, rows: slice) -> NDArray[np.int8]:
        """Some of them, not to be changed."""

    def write(self, rows: slice, values: NDArray[Any]) -> None:
        """Some of them are these values, of any type of integers, within int8."""

    def since(self, start: int) -> Self:
        """The same rows from one on."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldRows:
    """Values in an array; implements ``Rows``."""

    values: NDArray[np.int8]

    def read(self, rows: slice) -> NDArray[np.int8]:
        """See ``Rows``."""
        return self.values[rows]

    def write(self, rows: slice, values: NDArray[Any]) -> None:
        """See ``Rows``."""
        self.values[rows] = values

    def since(self, start: int) -> Self:
        """See ``Rows``."""
        return type(self)(self.values[start:])


def chunks(shape: tuple[int, ...]) -> Iterator[slice]:
    """All rows, as many at a time as a core's cache holds; requests come before each."""
    rows, columns = shape
    step = max(1, _CHUNK // max(columns, 1))
    if step > _BLOCK // 2:
        step = -(-step // _BLOCK) * _BLOCK
    for start in range(0, rows, step):
        yield slice(start, min(start + step, rows))
        REQUESTS.give_way()
