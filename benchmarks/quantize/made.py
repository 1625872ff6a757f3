"""A quantized model, and what making it took."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from common.graph.build import StateSource


@dataclass(frozen=True, slots=True, eq=False)
class Made:
    """What one mode made of one model for one level.

    Attributes:
        source: Its weights, dequantized, and what stayed float.
        codes: int8 by tensor, [rows, row_weights], at the level.
        wire_bytes: All that a device needs at the level.
        seconds: From float weights to blobs.
        peak_bytes: Highest resident memory meanwhile, above what there was before.
        full_bit_exact: Whether the codes at 8 bits are those of the plain model; None for dedicated ones.
    """

    source: StateSource
    codes: Mapping[str, NDArray[np.int8]]
    wire_bytes: int
    seconds: float
    peak_bytes: int
    full_bit_exact: bool | None = None
