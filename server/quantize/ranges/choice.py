"""The range of 8 bits that loses least: one that clips few numbers far out tells the many apart better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.graph.ranges import GREATEST_CODE, LEAST_CODE, grid_of

_STEPS: Final = 48  # bounds that are tried on each side of zero,
_STEPS_PER_HALVING: Final = 8  # from the whole of it down to 1/60
_FINALISTS: Final = 12
_TOLERANCE: Final = 0.05  # of the squared error, 0.2 dB
_DIGITS: Final = 6  # of a bound, so that it is short as text

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bounds:
    """``low <= 0 <= high``."""

    low: float
    high: float


def best_bounds(points: Floats, counts: NDArray[np.int64], widest: Bounds) -> Bounds:
    """The bounds of least squared error among ``widest`` and narrower ones.

    Args:
        points: [points], ascending, within ``widest``.
        counts: How often each was met.
        widest: Least and greatest of all, zero included; not both zero.
    """
    shares = 2.0 ** (-np.arange(_STEPS) / _STEPS_PER_HALVING)
    lows = np.unique(widest.low * shares)
    highs = np.unique(widest.high * shares)
    about = _about(points, counts, lows, highs)
    order = np.argsort(about, axis=None)[:_FINALISTS]
    finalists = [Bounds(lows[index // len(highs)], highs[index % len(highs)]) for index in order]
    rounded = [_rounded(bounds) for bounds in (widest, *finalists)]
    errors = [squared_error(points, counts, bounds) for bounds in rounded]
    return rounded[int(np.argmin(errors))]


def serves(points: Floats, counts: NDArray[np.int64], held: Bounds, best: Bounds) -> bool:
    """Whether bounds of another day lose little beside the best: then a graph need not change for them."""
    lost = squared_error(points, counts, held)
    return lost <= (1 + _TOLERANCE) * squared_error(points, counts, best)


def squared_error(points: Floats, counts: NDArray[np.int64], bounds: Bounds) -> float:
    """What the 256 numbers between the bounds miss the points by."""
    grid = grid_of(bounds.low, bounds.high)
    codes = np.clip(np.rint(points / grid.scale) + grid.zero_point, LEAST_CODE, GREATEST_CODE)
    return float(counts @ np.square((codes - grid.zero_point) * grid.scale - points))


def _about(points: Floats, counts: NDArray[np.int64], lows: Floats, highs: Floats) -> Floats:
    """The error of each low with each high, [lows, highs]: clipping exactly, the rest as even noise."""
    moments = np.concatenate(
        [np.zeros((3, 1)), np.cumsum(counts * points ** [[0], [1], [2]], axis=1)], axis=1
    )
    below = moments[:, np.searchsorted(points, lows)]
    up_to = moments[:, np.searchsorted(points, highs, side="right")]
    above = moments[:, -1:] - up_to
    clipped = _distance(below, lows)[:, None] + _distance(above, highs)[None, :]
    inside = up_to[0][None, :] - below[0][:, None]
    scales = (highs[None, :] - lows[:, None]) / (GREATEST_CODE - LEAST_CODE)
    about: Floats = clipped + inside * scales**2 / 12
    return about


def _distance(moments: Floats, bounds: Floats) -> Floats:
    """Squared distance of points to a bound, from their number, sum and sum of squares."""
    distance: Floats = moments[2] - 2 * bounds * moments[1] + bounds**2 * moments[0]
    return distance


def _rounded(bounds: Bounds) -> Bounds:
    """Short as text; zero without a sign."""
    return Bounds(*(float(f"{bound:.{_DIGITS}g}") + 0.0 for bound in (bounds.low, bounds.high)))
