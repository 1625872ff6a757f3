"""Scale and offset of a part-bit level, fitted to the float weights.

Floor moves every weight down by half a coarse step on average; the fitted offset takes that back, and the
fitted scale what clipping and rounding skewed. Ordinary least squares per output channel, closed form.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from server.quantize.affine import Affine
from server.quantize.row_chunks import row_chunks


def refit(codes: NDArray[np.int8], weights: NDArray[np.float32], nominal: NDArray[np.float32]) -> Affine:
    """The scale and offset per row that bring ``scale * codes + offset`` nearest to the weights.

    Args:
        codes: int8 [rows, row_weights] at the level. Axis 0 is the output channel.
        weights: float32 [rows, row_weights], finite.
        nominal: float32 [rows], above 0. Scale of a row whose codes are all equal, so that they say nothing
            about it; such a row meets the mean of its weights.

    Returns:
        The codes with the pair that has the least squared error.
    """
    scale = np.empty(len(codes), np.float32)
    offset = np.empty(len(codes), np.float32)
    for part in row_chunks(codes.shape):
        scale[part], offset[part] = _fit(codes[part], weights[part], nominal[part])
    return Affine(codes, scale, offset)


def _fit(
    codes: NDArray[np.int8], weights: NDArray[np.float32], nominal: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Scale and offset of some rows.

    Products are added up pairwise, never by a dot product of BLAS: that one adds in an order that depends on
    the processor and its threads, and equal weights must give equal blobs wherever they are quantized.
    """
    wide_codes = codes.astype(np.float64)
    wide_weights = weights.astype(np.float64)
    mean_code = wide_codes.mean(axis=1)
    mean_weight = wide_weights.mean(axis=1)
    wide_codes -= mean_code[:, None]
    wide_weights *= wide_codes
    covariance = wide_weights.sum(axis=1)
    variance = np.square(wide_codes, out=wide_codes).sum(axis=1)
    scale = np.divide(covariance, variance, out=nominal.astype(np.float64), where=variance > 0)
    return scale, mean_weight - scale * mean_code
