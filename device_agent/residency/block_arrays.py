"""What a block's blobs hold, each array checked against what the manifest says of the block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.blob_codec import unpack_base
from common.errors import IntegrityError
from common.manifest import Block, TensorPart
from common.nesting import Step
from common.packing import unpack
from device_agent.residency.resident import Affine

Arrays = Mapping[str, NDArray[Any]]


def check_names(block: Block, arrays: Arrays, *, base: bool) -> None:
    """Accept the arrays of a base or of a shard that hold what they should and nothing else.

    Raises:
        IntegrityError: They do not.
    """
    expected = {f"{kind}/{part.name}" for part in block.tensors for kind in ("codes", "scale", "offset")}
    expected |= {f"float/{name}" for name in (*block.level_floats, *(block.floats if base else ()))}
    if set(arrays) != expected:
        odd = min(expected.symmetric_difference(arrays))
        raise IntegrityError(f"A blob and its manifest disagree on {odd!r}.")


def base_codes(arrays: Arrays, part: TensorPart, level: int) -> NDArray[np.uint8]:
    """Codes of a base, ``2**(level-1)`` added: uint8 [weights], an array of its own.

    Raises:
        IntegrityError: They are not as many, or one does not fit the level.
    """
    stored = _flat(arrays, f"codes/{part.name}", np.uint8)
    codes = unpack_base(stored, level, part.weights).view(np.uint8)
    return np.add(codes, np.uint8(1 << (level - 1)), out=codes)


def shard_values(arrays: Arrays, part: TensorPart, step: Step) -> NDArray[np.uint8]:
    """What lifts the codes by a step, as stored: uint8 [weights].

    Raises:
        IntegrityError: They are not as many.
    """
    return unpack(_flat(arrays, f"codes/{part.name}", np.uint8), step.shard_bits, part.weights)


def affine(arrays: Arrays, part: TensorPart) -> Affine:
    """Scale and offset at the level that a blob reaches.

    Raises:
        IntegrityError: They are not one per row, or not finite.
    """
    scale = _flat(arrays, f"scale/{part.name}", np.float32)
    offset = _flat(arrays, f"offset/{part.name}", np.float32)
    if scale.size != part.rows or offset.size != part.rows:
        raise IntegrityError(
            f"Tensor {part.name!r} has {scale.size} scales and {offset.size} offsets for {part.rows} rows."
        )
    if not (np.isfinite(scale).all() and np.isfinite(offset).all()):
        raise IntegrityError(f"Tensor {part.name!r} has a scale or offset that is no finite number.")
    return Affine(scale.copy(), offset.copy())


def floats(arrays: Arrays, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Values that stay float, by name."""
    return {name: arrays[f"float/{name}"].copy() for name in names}


def next_float(arrays: Arrays, name: str, below: NDArray[Any]) -> NDArray[Any]:
    """A float at the level that a shard reaches.

    Args:
        arrays: The shard's.
        name: The float's.
        below: Its value one level down.

    Raises:
        IntegrityError: It has another type or shape than there.
    """
    value = arrays[f"float/{name}"]
    if (value.dtype, value.shape) != (below.dtype, below.shape):
        raise IntegrityError(
            f"Float {name!r} is {value.dtype} {list(value.shape)} at one level"
            f" and {below.dtype} {list(below.shape)} at the one below.",
            expected=f"{below.dtype} {list(below.shape)}",
            actual=f"{value.dtype} {list(value.shape)}",
        )
    return value.copy()


def _flat(arrays: Arrays, key: str, dtype: type[Any]) -> NDArray[Any]:
    array = arrays[key]
    if array.dtype != dtype or array.ndim != 1:
        raise IntegrityError(f"{key!r} is {array.dtype} {list(array.shape)}, not flat {np.dtype(dtype)}.")
    return array
