"""How much an update says at least, to a coder that knows a difference's frequencies alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from benchmarks.update.version import Version


def difference_bytes(held: Version, wanted: Version, level: int) -> int:
    """Order-0 entropy of the difference of codes at a level, tensor by tensor; new tensors as they are."""
    before = held.codes(level)
    total_bits = 0.0
    for name, codes in wanted.codes(level).items():
        old = before.get(name)
        known = old if old is not None and old.shape == codes.shape else np.zeros_like(codes)
        total_bits += codes.size * entropy_bits(np.subtract(codes, known, dtype=np.int16))
    return round(total_bits / 8)


def entropy_bits(numbers: NDArray[np.int16]) -> float:
    """Order-0 entropy of whole numbers within -255..255: bits for each."""
    counts = np.bincount(numbers.reshape(-1) + np.int16(255))
    shares = counts[counts > 0] / numbers.size
    return max(0.0, float(-(shares * np.log2(shares)).sum()))


def changed_float_bytes(held: Version, wanted: Version) -> int:
    """Floats that are others than before, as they are; those of each level count at each."""
    before = _floats(held)
    return sum(value.nbytes for key, value in _floats(wanted).items() if not _same(before.get(key), value))


def _floats(version: Version) -> dict[tuple[str, int], NDArray[np.generic]]:
    return {
        (name, index): value
        for block in version.manifest.blocks
        for index, content in enumerate(version.contents(block))
        for name, value in content.floats.items()
    }


def _same(one: NDArray[np.generic] | None, other: NDArray[np.generic]) -> bool:
    return one is not None and one.shape == other.shape and one.tobytes() == other.tobytes()
