"""Scale and offset of a part's rows at each level, held as what they follow from: its grid and its fits.

A scale and an offset are eight bytes a row at each level, and a 4-bit row of MiniLM's is 192; a fit is two to
four. Both come from the fit in a few operations on whole rows whenever they are asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from common.rows import Affine, Fit, Grid, at_level


@dataclass(frozen=True, slots=True, eq=False)
class RowScales(Sequence[Affine]):
    """One scale and offset per level, from a block's base up.

    Attributes:
        grid: Of the rows; counts as the part's.
        fits: One per level below the version's highest.
        levels: The levels.
        full_level: The version's highest.
        row_weights: Weights in a row.
    """

    grid: Grid
    fits: tuple[Fit, ...]
    levels: tuple[int, ...]
    full_level: int
    row_weights: int

    def lifted(self, level: int, fits: Sequence[Fit]) -> RowScales:
        """The same and those of one level above.

        Args:
            level: The level.
            fits: Its fit alone; none at the version's highest.
        """
        held = tuple(Fit(_narrow(fit.slope), _narrow(fit.shift)) for fit in fits)
        return RowScales(
            self.grid, (*self.fits, *held), (*self.levels, level), self.full_level, self.row_weights
        )

    def lowered(self, count: int) -> RowScales:
        """Those of the first levels alone."""
        return RowScales(self.grid, self.fits[:count], self.levels[:count], self.full_level, self.row_weights)

    @property
    def size_bytes(self) -> int:
        """Memory that the fits take."""
        return sum(fit.slope.nbytes + fit.shift.nbytes for fit in self.fits)

    def __len__(self) -> int:
        return len(self.levels)

    @overload
    def __getitem__(self, index: int) -> Affine: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Affine, ...]: ...
    def __getitem__(self, index: int | slice) -> Affine | tuple[Affine, ...]:
        if isinstance(index, slice):
            return tuple(self._at(at) for at in range(*index.indices(len(self))))
        return self._at(range(len(self))[index])

    def _at(self, index: int) -> Affine:
        level = self.levels[index]
        if level == self.full_level:
            return self.grid.affine()
        return at_level(self.grid, self.fits[index], level, self.full_level, self.row_weights)


def _narrow(numbers: NDArray[np.int16]) -> NDArray[Any]:
    """The numbers in an array of their own, a byte each where all fit one."""
    if numbers.size and (int(numbers.min()) < -128 or int(numbers.max()) > 127):  # noqa: PLR2004
        return numbers.copy()
    return numbers.astype(np.int8)
