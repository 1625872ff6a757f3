"""``adaptive``: the rounding of NestQuant (arXiv 2506.17870), built on SQuant's flips.

INT-n by SQuant first; then each level from the one above by the same flips: ``codes / 2**l`` clamped to the
lower level's ``h`` bits and rounded adaptively, ``low = codes - high * 2**l`` in ``l + 1`` bits. A part-bit
weight is ``scale * 2**(n-h) * codes + offset``.

With more than two levels each comes from its neighbour (8 to 6, 6 to 4), not all from the full-bit codes: two
roundings of one number can lie further apart than ``l + 1`` bits tell, one step of rounding cannot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from common.nesting import nest
from server.quantize.affine import Affine
from server.quantize.frozen import keep_fits, quantize_frozen
from server.quantize.refit import refit
from server.quantize.rounding.flips import flip
from server.quantize.rounding.port import Rounded, Rows
from server.quantize.row_chunks import row_chunks


@dataclass(frozen=True, slots=True)
class Adaptive:
    """The paper's mode.

    Args:
        refit: Part-bit levels take the scale and offset nearest to the float weights instead of the paper's.
    """

    refit: bool = False

    @property
    def label(self) -> str:
        """What the manifest calls it."""
        return "adaptive-refit" if self.refit else "adaptive"

    def shard_bits(self, levels: Sequence[int]) -> tuple[int, ...]:
        """One bit more than each step."""
        return tuple(high - low + 1 for low, high in pairwise(levels))

    def __call__(self, rows: Rows, levels: Sequence[int]) -> Rounded:
        """See ``Rounding``."""
        full = squant(rows, levels[-1])
        codes = [full.codes]
        for low, high in reversed(list(pairwise(levels))):
            codes.insert(0, lower_adaptively(codes[0], low, high, rows.kernel_weights))
        part_bit = (
            self._fitted(full, codes[index], rows, level, levels[-1])
            for index, level in enumerate(levels[:-1])
        )
        return Rounded(nest(codes, levels, self.shard_bits(levels)), (*part_bit, full))

    def _fitted(
        self, full: Affine, codes: NDArray[np.int8], rows: Rows, level: int, full_level: int
    ) -> Affine:
        nominal = full.scale * np.float32(1 << (full_level - level))
        if not self.refit:  # the paper's own scale and offset follow from the grid; there is no fit to hold
            return Affine(codes, nominal, full.offset)
        return keep_fits(
            refit(codes, rows.weights, nominal, rows.means),
            full,
            rows.weights,
            rows.held,
            level=level,
            full_level=full_level,
            means=rows.means,
        )


def squant(rows: Rows, bits: int) -> Affine:
    """Rows as INT-n by SQuant: plain INT-n's scale and offset, and codes at most one step off its own.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """

    def flipped(plain: Affine) -> Affine:
        codes = np.empty_like(plain.codes)
        for part in row_chunks(codes.shape):
            exact = (rows.weights[part] - plain.offset[part, None]) / plain.scale[part, None]
            nearest = np.rint(exact)
            kernels = (len(exact), -1, rows.kernel_weights)
            error = np.subtract(nearest, exact, out=exact).reshape(kernels)
            codes[part] = flip(nearest.astype(np.int32).reshape(kernels), error, 1, bits).reshape(
                nearest.shape
            )
        return Affine(codes, plain.scale, plain.offset)

    return quantize_frozen(rows.weights, bits, rows.held, name=rows.name, refine=flipped)


def lower_adaptively(codes: NDArray[np.int8], low: int, high: int, kernel_weights: int) -> NDArray[np.int8]:
    """Codes at a lower level: int8, same shape, each off ``codes / 2**(high-low)`` by less than one.

    Args:
        codes: int8 [rows, row_weights] at the level ``high``.
        low: The level below.
        high: The level above.
        kernel_weights: See ``Rows``.
    """
    step_bits = high - low
    greatest = np.int8(((1 << (low - 1)) - 1) << step_bits)
    lowered = np.empty_like(codes)
    for part in row_chunks(codes.shape):
        exact = np.minimum(codes[part], greatest).astype(np.int32)
        exact = exact.reshape(len(exact), -1, kernel_weights)
        nearest = _nearest(exact, step_bits)
        error = (nearest << step_bits) - exact
        lowered[part] = flip(nearest, error, 1 << step_bits, low).reshape(codes[part].shape)
    return lowered


def _nearest(values: NDArray[np.int32], step_bits: int) -> NDArray[np.int32]:
    """``values / 2**step_bits`` to the nearest whole number; of two, the even one, as ``rint`` does."""
    nearest = values >> step_bits
    nearest &= 1
    nearest += values
    nearest += (1 << (step_bits - 1)) - 1
    nearest >>= step_bits
    return nearest
