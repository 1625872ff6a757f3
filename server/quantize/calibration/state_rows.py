"""A weight as a rounding mode takes it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray

from server.quantize.rounding import Rows


def rows_of(name: str, tensor: torch.Tensor) -> Rows:
    """A weight of at least two axes by its rows, as float32."""
    weights: NDArray[np.float32] = tensor.to(torch.float32).reshape(len(tensor), -1).numpy()
    return Rows(name, weights, math.prod(tensor.shape[2:]))
