"""Scale and offset of a part-bit level, fitted to the float weights.

Floor moves every weight down by half a coarse step on average; the fitted offset takes that back, and the
fitted scale what clipping and rounding skewed. Least squares per output channel, closed form.

Where it is known what the layer sees on average (``column_means``), the error of a row's answer to that
counts as well: by ``sum(e**2) + (means @ e)**2`` its answers are off, for the errors ``e`` of a row, if
columns have those means and a deviation of 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from server.quantize.affine import Affine
from server.quantize.row_chunks import row_chunks


def refit(
    codes: NDArray[np.int8],
    weights: NDArray[np.float32],
    nominal: NDArray[np.float32],
    means: NDArray[np.float64] | None = None,
) -> Affine:
    """The scale and offset per row that bring ``scale * codes + offset`` nearest to the weights.

    Args:
        codes: int8 [rows, row_weights] at the level. Axis 0 is the output channel.
        weights: float32 [rows, row_weights], finite.
        nominal: float32 [rows], above 0. Scale of a row whose codes are all equal, so that they say nothing
            about it; such a row meets the mean of its weights.
        means: float64 [row_weights], of what each column is multiplied with, in deviations; None: zeros.

    Returns:
        The codes with the pair that has the least squared error.
    """
    scale = np.empty(len(codes), np.float32)
    offset = np.empty(len(codes), np.float32)
    for part in row_chunks(codes.shape):
        scale[part], offset[part] = _fit(codes[part], weights[part], nominal[part], means)
    return Affine(codes, scale, offset)


def _fit(
    codes: NDArray[np.int8],
    weights: NDArray[np.float32],
    nominal: NDArray[np.float32],
    means: NDArray[np.float64] | None,
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
    if means is not None:
        wide_weights -= mean_weight[:, None]
        seen_codes, seen_weights = ((wide * means).sum(axis=1) for wide in (wide_codes, wide_weights))
    wide_weights *= wide_codes
    covariance = wide_weights.sum(axis=1)
    variance = np.square(wide_codes, out=wide_codes).sum(axis=1)
    scale = np.divide(covariance, variance, out=nominal.astype(np.float64), where=variance > 0)
    offset = mean_weight - scale * mean_code
    if means is None:
        return scale, offset
    # The normal equations of scale and shift, with codes and weights about their own means.
    count, sum_of_means = codes.shape[1], means.sum()
    both = variance * (count + sum_of_means**2) + np.square(seen_codes) * count
    both[variance <= 0] = np.inf
    seen_scale = (covariance * (count + sum_of_means**2) + seen_codes * seen_weights * count) / both
    shift = sum_of_means * (variance * seen_weights - seen_codes * covariance) / both
    sound = seen_scale > scale / 2  # in a row of few columns one mean may outweigh all weights
    seen_offset = mean_weight + shift - seen_scale * mean_code
    return np.where(sound, seen_scale, scale), np.where(sound, seen_offset, offset)
