"""Energies as the report's figures."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.fidelity_codec import MAX_DECIBELS


def energy(values: NDArray[Any]) -> float:
    """Sum of squares of an array of any shape, added up in double precision."""
    return float(np.square(values, dtype=np.float64).sum())


def decibels(signal: float, error: float) -> float | None:
    """Ratio of two energies, within -1000..1000; None where the second is 0."""
    if not error:
        return None
    if not signal:
        return -MAX_DECIBELS
    return significant(min(max(10 * math.log10(signal / error), -MAX_DECIBELS), MAX_DECIBELS))


def significant(value: float) -> float:
    """To six digits, which is more than any figure here is good for, and keeps the report small."""
    return float(f"{value:.6g}")


def significant_share(part: int, whole: int) -> float | None:
    """A share of counts; None of nothing."""
    return significant(part / whole) if whole else None
