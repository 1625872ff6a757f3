"""Codes of a tensor's rows in memory, in whatever form they are held."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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
