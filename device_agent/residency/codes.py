"""Codes of a tensor's rows in memory, in whatever form they are held."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.nesting import Step
from device_agent.residency.bit_planes import PackedCodes, pack_codes

CHUNK: Final = 1 << 17  # codes that are worked on at a time, few enough for the cache of one core


class Values(Protocol):
    """Values of a shard that are read in pieces."""

    def read(self, start: int, size: int) -> NDArray[np.uint8]:
        """Values from ``start`` on: uint8 [size], valid until the next call.

        Args:
            start: Index of the first.
            size: At most ``CHUNK``.
        """


Shards: TypeAlias = Sequence[tuple[Step, Values]]
"""Steps up and what they add, lowest first."""


class Codes(Protocol):
    """The codes of some rows at one level."""

    @property
    def level(self) -> int:
        """Bits per code."""

    @property
    def count(self) -> int:
        """Codes in all."""

    @property
    def size_bytes(self) -> int:
        """Memory that they take."""

    def unsigned(self) -> NDArray[np.uint8]:
        """The codes with ``2**(level-1)`` added: uint8 [count], in [0, 2**level - 1], the caller's own."""


class Movable(ABC):
    """Codes in an executor's own form, which it moves to other levels by itself, a byte a weight."""

    @abstractmethod
    def moved(self, level: int, shards: Shards) -> Codes:
        """The same codes at another level; these stay as they are.

        Args:
            level: Where they go.
            shards: What leads up there; none for a step down.
        """


@dataclass(frozen=True, slots=True, eq=False)
class ByteCodes:
    """One byte a weight, as kernels execute them.

    Attributes:
        level: Bits per code.
        values: uint8 [count], the codes with ``2**(level-1)`` added, in [0, 2**level - 1].
    """

    level: int
    values: NDArray[np.uint8]

    @property
    def count(self) -> int:
        """Codes in all."""
        return self.values.size

    @property
    def size_bytes(self) -> int:
        """Memory that they take."""
        return self.values.nbytes

    def unsigned(self) -> NDArray[np.uint8]:
        """See ``Codes``."""
        return self.values.copy()

    def read_into(self, start: int, out: NDArray[np.uint8]) -> None:
        """``out`` has the values from ``start`` on, as many as it takes."""
        out[:] = self.values[start : start + out.size]


def held_codes(unsigned: NDArray[np.uint8], level: int, *, unpacked: bool) -> Codes:
    """Codes in one of the two forms.

    Args:
        unsigned: uint8 [count], values in [0, 2**level - 1]; given away.
        level: Bits per code.
        unpacked: Whether they take a byte each.
    """
    return ByteCodes(level, unsigned) if unpacked else pack_codes(unsigned, level)


def is_unpacked(codes: Codes) -> bool:
    """Whether they take a byte each, maybe in an executor's own order."""
    return not isinstance(codes, PackedCodes)
