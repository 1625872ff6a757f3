"""Scale and offset of each output row at each level, in few bits.

A row's full-bit scale and zero point are its *grid*. A part-bit level of ``h`` bits inside ``n`` has the
nominal scale ``scale * 2**(n-h)``, and its codes, floors of the full-bit ones, stand for the middle of what
they stand for there. What a fit to the weights changes about that is small: the *fit* says it in whole steps
of a size that follows from the level and from how many weights a row has, since the noise of a row's mean
falls with their root. Together a base takes about three bytes a row, a shard less than one, where a float32
scale and offset take eight at each level.

All arithmetic is float32, one operation at a time, so that every machine gets the same bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SLOPE_STEPS: Final = 64  # steps of a slope that make the nominal scale
MIN_SLOPE: Final = 1 - SLOPE_STEPS  # a scale stays above 0
_LEAST_SHIFT_BITS: Final = 5
# The noise of a row's mean is 0.29 / sqrt(weights) of a code at its level. At four bits a step of half of it
# costs nothing that can be measured; each bit above needs half the precision, down to a quarter of it.
_NOISE_WEIGHTS: Final = 42
_FINEST_LEVEL: Final = 4
_COARSER_BITS: Final = 2


@dataclass(frozen=True, slots=True)
class Affine:
    """``weight = scale * codes + offset``, row by row, at one level.

    Attributes:
        scale: float32 [rows].
        offset: float32 [rows].
    """

    scale: NDArray[np.float32]
    offset: NDArray[np.float32]

    @property
    def size_bytes(self) -> int:
        """Memory that the two take."""
        return self.scale.nbytes + self.offset.nbytes


@dataclass(frozen=True, slots=True)
class Grid:
    """What the full-bit codes of each row stand for: ``weight = scale * (codes - zero)``.

    Attributes:
        scale: float32 [rows], above 0. At most ten significant bits where it shall take two bytes.
        zero: int8 [rows]. The code of weight 0.
    """

    scale: NDArray[np.float32]
    zero: NDArray[np.int8]

    def affine(self) -> Affine:
        """Scale and offset of the full-bit level."""
        return Affine(self.scale, -self.scale * self.zero.astype(np.float32))

    def __getitem__(self, rows: slice) -> Grid:
        """Some of the rows."""
        return Grid(self.scale[rows], self.zero[rows])

    @property
    def size_bytes(self) -> int:
        """Memory that the two take."""
        return self.scale.nbytes + self.zero.nbytes


@dataclass(frozen=True, slots=True)
class Fit:
    """How a part-bit level departs from its grid.

    Attributes:
        slope: int16 [rows]. Change of the scale, in ``1 / SLOPE_STEPS`` of the nominal one; above -64.
        shift: int16 [rows]. Change of the offset, in ``2**-shift_bits`` of the nominal scale.
    """

    slope: NDArray[np.int16]
    shift: NDArray[np.int16]

    def __getitem__(self, rows: slice) -> Fit:
        """Some of the rows."""
        return Fit(self.slope[rows], self.shift[rows])


def shift_bits(level: int, full_level: int, row_weights: int) -> int:
    """How finely a level's shift is stated, as a power of one half of the level's nominal scale.

    Fine enough in any case to take the offset back to that of the grid, which rows of zeros and the paper's
    own part-bit weights need.

    Args:
        level: The part-bit level.
        full_level: The version's highest level.
        row_weights: Weights in a row.
    """
    finest = ((_NOISE_WEIGHTS * max(row_weights, 1)).bit_length() + 1) // 2
    least = max(_LEAST_SHIFT_BITS, full_level - level + 1)
    return max(least, finest - min(max(level - _FINEST_LEVEL, 0), _COARSER_BITS))


def nominal(grid: Grid, level: int, full_level: int) -> Affine:
    """Scale and offset of a level whose codes are floors of the full-bit ones and that nobody has fitted."""
    parts = np.float32(1 << (full_level - level))
    middle = (parts - np.float32(1)) / np.float32(2)
    full = grid.affine()
    return Affine(grid.scale * parts, full.offset + grid.scale * middle)


def at_level(grid: Grid, fit: Fit, level: int, full_level: int, row_weights: int) -> Affine:
    """Scale and offset of a part-bit level.

    Args:
        grid: The rows' grid.
        fit: Their fit at the level.
        level: The level.
        full_level: The version's highest level.
        row_weights: Weights in a row.
    """
    plain = nominal(grid, level, full_level)
    slope = np.float32(1) + fit.slope.astype(np.float32) / np.float32(SLOPE_STEPS)
    shift = fit.shift.astype(np.float32) / np.float32(1 << shift_bits(level, full_level, row_weights))
    return Affine(plain.scale * slope, plain.offset + plain.scale * shift)
