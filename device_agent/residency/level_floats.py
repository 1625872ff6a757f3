"""Floats of a block, held against what the level below them and arithmetic allow."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import IntegrityError
from device_agent.residency.row_scales import RowScales

_SAFE_SCALE: Final = 2.0**64  # what follows from it in steps of 16 bits is far from the end of float32


def check_scales(name: str, scales: RowScales) -> None:
    """Accept scales and offsets that are numbers, at the highest level that there is.

    Raises:
        IntegrityError: One is not.
    """
    if not scales.grid.scale.size or float(scales.grid.scale.max()) < _SAFE_SCALE:
        return
    affine = scales[-1]
    if not (np.isfinite(affine.scale).all() and np.isfinite(affine.offset).all()):
        raise IntegrityError(f"Tensor {name!r} has a scale or offset that is no finite number.")


def next_float(name: str, value: NDArray[Any], below: NDArray[Any]) -> NDArray[Any]:
    """A float at the level that a shard reaches.

    Args:
        name: The float's.
        value: Its value in the shard.
        below: Its value one level down.

    Raises:
        IntegrityError: It has another type or shape than there.
    """
    if (value.dtype, value.shape) != (below.dtype, below.shape):
        raise IntegrityError(
            f"Float {name!r} is {value.dtype} {list(value.shape)} at one level"
            f" and {below.dtype} {list(below.shape)} at the one below.",
            expected=f"{below.dtype} {list(below.shape)}",
            actual=f"{value.dtype} {list(value.shape)}",
        )
    return value
