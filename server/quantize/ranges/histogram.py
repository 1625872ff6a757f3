"""How often a value took which numbers, in bounded memory, over a range that grows with what comes.

As torch's HistogramObserver, but bins are always a power of two wide and begin at a multiple of that. So a
wider bin is the sum of narrower ones, and growing shifts no number from where it was counted.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.graph.check import MIN_SPAN

BINS: Final = 2048
_MOST_COUNTED: Final = 1 << 18  # of one batch; least and greatest are those of all


class Histogram:
    """Of one value.

    Attributes:
        low, high: The least and the greatest number so far, and zero.
    """

    def __init__(self) -> None:
        self.low = 0.0
        self.high = 0.0
        self._exponent = -1_000  # bins are 2**exponent wide
        self._first = 0  # the first bin begins at so many widths
        self._counts = np.zeros(BINS, np.int64)
        self._zeros = 0

    def add(self, numbers: torch.Tensor, low: float, high: float) -> None:
        """Count a batch.

        Args:
            numbers: float32, flat, finite, not empty. Of very many, every so-manieth is counted.
            low: The least of them.
            high: The greatest of them.
        """
        self._grow(min(low, self.low), max(high, self.high))
        if self.high - self.low < MIN_SPAN:
            return  # as good as zero, and finer than bins can be in float32
        counted = numbers[:: -(-len(numbers) // _MOST_COUNTED) | 1]  # odd, to meet all channels
        start, stop = (math.ldexp(self._first + bins, self._exponent) for bins in (0, BINS))
        self._counts += torch.histc(counted, BINS, start, stop).numpy().astype(np.int64)
        self._zeros += len(counted) - int(torch.count_nonzero(counted))

    def points(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Numbers in ascending order, and how often each was met; those that are exactly zero left out."""
        counts = self._counts.copy()
        counts[-self._first] -= self._zeros
        met = np.flatnonzero(counts > 0)
        centres = np.ldexp(self._first + met + 0.5, self._exponent)
        return np.clip(centres, self.low, self.high), counts[met]

    def _grow(self, low: float, high: float) -> None:
        if (low, high) == (self.low, self.high):
            return
        exponent = max(self._exponent, math.frexp((high - low) / BINS)[1] - 1)
        while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= BINS:
            exponent += 1
        met = np.flatnonzero(self._counts)
        first = math.floor(math.ldexp(low, -exponent))
        counts = np.zeros(BINS, np.int64)
        np.add.at(counts, (self._first + met >> exponent - self._exponent) - first, self._counts[met])
        self.low, self.high = low, high
        self._exponent, self._first, self._counts = exponent, first, counts
