"""Where oneDNN puts each value of a weight, so that values are read and written without it.

Its own packing goes by single values, takes two to four times as long as two copies of an array, and wants
whole tensors. A weight's descriptor says where they are. What is read out of it is believed only after oneDNN
itself has found every value of a weight that was written by it. Where a descriptor says anything else than
what is known here, or torch does not give it, oneDNN packs.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import numpy as np
import torch

from device_agent.inference.integer.lanes import Laid, Lanes

_AXES: Final = 4
_INT8: Final = 5
_BLOCKED: Final = 2
# The beginning of oneDNN's ``dnnl_memory_desc``.
_DESCRIPTOR: Final = np.dtype(
    {
        "names": [
            "axes", "dims", "type", "padded", "offsets", "offset", "format", "strides",
            "blocks", "sizes", "along", "extra",
        ],
        "formats": [
            "<i4", "(12,)<i8", "<i4", "(12,)<i8", "(12,)<i8", "<i8", "<i4", "(12,)<i8",
            "<i4", "(12,)<i8", "(12,)<i8", "<u8",
        ],
        "offsets": [4, 8, 104, 112, 208, 304, 312, 320, 416, 424, 520, 616],
        "itemsize": 768,
    }
)  # fmt: skip
_ROWS, _COLUMNS = 0, 1  # axes
_KEPT: Final = 256  # descriptors, of a kilobyte each


@lru_cache(_KEPT)
def described(descriptor: bytes) -> Lanes | None:
    """What oneDNN's descriptor says; None where it is another order, or no descriptor that is known.

    Known are blocks of rows, in them the window, in that the columns: one by one, or four at a time, which is
    what one instruction multiplies and adds up. Processors with tiles (AMX) name sixteen such fours as a
    block of their own, which lies as it would without the name.
    """
    if len(descriptor) < _DESCRIPTOR.itemsize:
        return None
    said: Any = np.frombuffer(descriptor, _DESCRIPTOR, count=1)[0]
    simple = (said["axes"], said["type"], said["format"]) == (_AXES, _INT8, _BLOCKED)
    count = int(said["blocks"])
    along, sizes = said["along"][:count].tolist(), said["sizes"][:count].tolist()
    nested = along in ([_ROWS], [_ROWS, _COLUMNS], [_COLUMNS, _ROWS, _COLUMNS]) and min(sizes) > 0
    if not simple or not nested or said["extra"] or said["offset"] or said["offsets"][:_AXES].any():
        return None
    block = sizes[along.index(_ROWS)]
    lane = sizes[-1] if along[-1] == _COLUMNS else 1
    together = math.prod(sizes) // block
    rows, columns, height, width = said["dims"][:_AXES].tolist()
    padded = [-(-rows // block) * block, columns, height, width]
    if lane not in {1, 4} or columns % together or said["padded"][:_AXES].tolist() != padded:
        return None
    steps = [height * width * columns * block, block * together, width * columns * block, columns * block]
    counts = [padded[0] // block, columns // together, height, width]
    given = said["strides"][:_AXES].tolist()
    if any(one != other for one, other, many in zip(given, steps, counts, strict=True) if many > 1):
        return None
    return Lanes(rows, columns, height * width, block, lane)


def laid_in(packed: torch.Tensor, lanes: Lanes) -> Laid:
    """A packed weight's memory, for as long as it lives."""
    array = (ctypes.c_uint8 * lanes.size_bytes).from_address(torch.ops.mkldnn.data_ptr.default(packed))
    return Laid(lanes, np.ctypeslib.as_array(array).reshape(lanes.shape))


def _described(packed: torch.Tensor) -> Lanes | None:
    try:
        descriptor = torch.ops.mkldnn._get_mkldnn_serialized_md.default(packed).numpy().tobytes()  # noqa: SLF001
    except (AttributeError, RuntimeError):  # another torch
        return None
    return described(descriptor)


class Orders:
    """What is known of packed weights; any number of threads may ask.

    Args:
        described: What a packed weight's descriptor says.
    """

    def __init__(self, described: Callable[[torch.Tensor], Lanes | None] = _described) -> None:
        self._described = described
        self._proven: dict[tuple[Lanes, tuple[int, ...]], bool] = {}

    def of(self, packed: torch.Tensor) -> Lanes | None:
        """How a packed weight's values lie; None where only oneDNN knows it."""
        lanes = self._described(packed)
        if lanes is None:
            return None
        key = lanes, tuple(packed.shape)
        if key not in self._proven:
            self._proven[key] = _is_proven(lanes, packed)
        return lanes if self._proven[key] else None


def _is_proven(lanes: Lanes, packed: torch.Tensor) -> bool:
    """Whether oneDNN finds what is written in this order, and nothing else is found where it is read."""
    shape = tuple(packed.shape)
    if len(shape) != _AXES or (*shape[:2], shape[2] * shape[3]) != (lanes.rows, lanes.columns, lanes.window):
        return False
    try:
        if torch.ops.mkldnn._nbytes.default(packed) != lanes.size_bytes:  # noqa: SLF001
            return False
        values = np.random.default_rng(0).integers(0, 256, (lanes.rows, lanes.places), np.uint8)
        other = packed.clone()
        if torch.ops.mkldnn.data_ptr.default(other) == torch.ops.mkldnn.data_ptr.default(packed):
            return False  # no copy: what is there may be in use
        memory = laid_in(other, lanes).memory
        lanes.write_rows(values, memory)
        found = other.to_dense().numpy().reshape(values.shape).view(np.uint8)
    except (AttributeError, RuntimeError):  # another torch
        return False
    return np.array_equal(found, values) and np.array_equal(lanes.read_rows(memory, lanes.rows), values)
