"""How good outputs are: against the labels, and against what the 32-bit floats answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def accuracy(outputs: NDArray[Any], labels: NDArray[np.int64]) -> float:
    """Share of samples whose label has the highest output, 0..1.

    Args:
        outputs: Floats [samples, classes].
        labels: int64 [samples].
    """
    return float((outputs.argmax(1) == labels).mean())


def relative_error(outputs: NDArray[Any], reference: NDArray[Any]) -> float:
    """``norm(outputs - reference) / norm(reference)``: 0 for equal outputs."""
    return float(np.linalg.norm(outputs - reference) / np.linalg.norm(reference))
