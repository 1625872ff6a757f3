"""Plain INT-n: per-output-channel asymmetric affine quantization, round to nearest.

``weight ≈ scale * (codes - zero_point) = scale * codes + offset`` with one whole zero point per channel, so
the range includes zero and zero is met exactly (Jacob et al., arXiv 1712.05877, eq. 1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.rows import Grid
from server.quantize.row_chunks import row_chunks


@dataclass(frozen=True, slots=True)
class Affine:
    """Rows of weights as whole numbers.

    Attributes:
        codes: int8 [rows, row_weights], values in [-2**(n-1), 2**(n-1) - 1].
        scale: float32 [rows], above 0. Weight between two neighbouring codes.
        offset: float32 [rows]. Weight of code 0; ``-scale`` times the zero point.
    """

    codes: NDArray[np.int8]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32]

    def weights(self) -> NDArray[np.float32]:
        """What the codes stand for: float32 [rows, row_weights]."""
        return self.codes * self.scale[:, None] + self.offset[:, None]


def quantize_rows(
    weights: NDArray[np.float32], bits: int, *, name: str = "?", grid: Grid | None = None
) -> Affine:
    """Round weights to the nearest of ``2**bits`` steps between the least and the greatest of their row.

    Args:
        weights: float32 [rows, row_weights], finite. Axis 0 is the output channel. Not modified.
        bits: Width of a code, 2..8.
        name: The tensor's name, for the message.
        grid: The steps, where they are given; weights beyond the last of them take that. None: those of each
            row's own range.

    Returns:
        Codes with scale and offset. Without a grid, a row of zeros has code 0 throughout, scale 1, offset 0.

    Raises:
        InvalidInputError: A weight is NaN or infinite.
    """
    half = 1 << (bits - 1)
    low = np.minimum(weights.min(axis=1, initial=0.0), 0.0).astype(np.float64)
    high = np.maximum(weights.max(axis=1, initial=0.0), 0.0).astype(np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise InvalidInputError(
            f"Tensor {name!r} has NaN or infinite weights.",
            advice="Push a model whose weights are all finite.",
        )
    if grid is not None:
        return Affine(_codes(weights, grid.scale, grid.zero, half), grid.scale, grid.affine().offset)
    scale = ((high - low) / (2 * half - 1)).astype(np.float32)
    zero_row = scale == 0
    scale[zero_row] = 1
    zero_point = np.clip(np.rint(-half - low / scale), -half, half - 1)
    zero_point[zero_row] = 0
    return Affine(_codes(weights, scale, zero_point, half), scale, (-scale * zero_point).astype(np.float32))


def _codes(
    weights: NDArray[np.float32], scale: NDArray[np.float32], zero_point: NDArray[Any], half: int
) -> NDArray[np.int8]:
    codes = np.empty(weights.shape, np.int8)
    for part in row_chunks(weights.shape):
        with np.errstate(over="ignore"):  # a foreign scale may be far too small; infinity is clipped too
            steps = weights[part] / scale[part, None]
        np.rint(steps, out=steps)
        steps += zero_point[part, None].astype(np.float32)
        np.clip(steps, -half, half - 1, out=steps)
        codes[part] = steps
    return codes
