"""Measures of what quantization did to outputs and codes."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def mean_cosine(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    """Mean over rows of the cosine between two arrays, both float32 [samples, features]."""
    return float(np.vecdot(_unit(outputs), _unit(reference)).mean())


def neighbour_overlap(
    outputs: NDArray[np.float32], reference: NDArray[np.float32], neighbours: int = 10
) -> float:
    """Mean share of a sample's nearest other samples, by cosine, that are the same in both, 0..1.

    Args:
        outputs: float32 [samples, features].
        reference: float32 [samples, features].
        neighbours: How many of the nearest count; fewer than there are samples.
    """
    found, wanted = _neighbours(outputs, neighbours), _neighbours(reference, neighbours)
    common = (found[:, :, None] == wanted[:, None, :]).any(axis=2)
    return float(common.mean())


def entropy_bits(codes: NDArray[np.int8]) -> float:
    """Order-0 entropy of int8 codes of any shape: bits each for a coder that knows only their counts."""
    counts = np.bincount(codes.reshape(-1).view(np.uint8))
    shares = counts[counts > 0] / codes.size
    return max(0.0, float(-(shares * np.log2(shares)).sum()))


def mean_entropy_bits(codes: Mapping[str, NDArray[np.int8]]) -> float:
    """Entropy of each tensor's codes by itself, mean over all codes."""
    total = sum(array.size for array in codes.values())
    return sum(entropy_bits(array) * array.size for array in codes.values()) / total


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    units: NDArray[np.float32] = np.divide(rows, lengths, out=np.zeros_like(rows), where=lengths > 0)
    return units


def _neighbours(rows: NDArray[np.float32], neighbours: int) -> NDArray[np.int64]:
    """int64 [samples, neighbours]: the most similar other rows, in no order."""
    units = _unit(rows)
    similarity = units @ units.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argpartition(similarity, -neighbours, axis=1)[:, -neighbours:].astype(np.int64)
