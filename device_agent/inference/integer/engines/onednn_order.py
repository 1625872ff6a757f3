"""Where oneDNN puts each value of a weight, so that a new weight can take the place of an earlier one's bytes.

Its own packing takes two to four times as long as two copies of an array, since it goes by single values. A
weight's descriptor says where they are; what is read out of it is believed only after oneDNN itself has found
every value of a weight that was written by it. Where a descriptor says anything else than what is known here,
or torch does not give it, oneDNN packs.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import torch
from numpy.typing import NDArray

_QUAD: Final = 4  # values of neighbouring columns, side by side: what one instruction multiplies and adds up
# Of ``dnnl_memory_desc``: twelve places for axes, of eight bytes each.
_AXES: Final = 4
_AXES_AT: Final = 4
_DIMS_AT: Final = 8
_TYPE_AT: Final = 104
_PADDED_AT: Final = 112
_OFFSETS_AT: Final = 208
_FORMAT_AT: Final = 312
_STRIDES_AT: Final = 320
_BLOCKS_AT: Final = 416
_BLOCK_SIZES_AT: Final = 424
_BLOCK_AXES_AT: Final = 520
_EXTRA_AT: Final = 616
_SIZE_BYTES: Final = 768
_INT8: Final = 5
_BLOCKED: Final = 2
_CHUNK_BYTES: Final = 1 << 17  # at a time, so that they stay in the cache
_CACHE_LINE: Final = 64
_WAY: Final = 1024  # rows of a multiple of this begin at so few places of a cache that it forgets them


@dataclass(frozen=True, slots=True)
class Order:
    """Blocks of rows; in each, window by window, four columns at a time, the rows side by side.

    Attributes:
        rows, columns, window: Of the weight.
        block: Rows in each block; the last one is filled up with zeros.
    """

    rows: int
    columns: int
    window: int
    block: int

    @classmethod
    def described(cls, descriptor: bytes) -> Self | None:
        """What oneDNN's descriptor says; None where it is another order, or no descriptor that is known."""
        if len(descriptor) < _SIZE_BYTES:
            return None

        def word(at: int) -> int:
            return int(struct.unpack_from("<i", descriptor, at)[0])

        def longs(at: int, count: int) -> tuple[int, ...]:
            return struct.unpack_from(f"<{count}q", descriptor, at)

        simple = (word(_AXES_AT), word(_TYPE_AT), word(_FORMAT_AT)) == (_AXES, _INT8, _BLOCKED)
        if not simple or word(_BLOCKS_AT) != 2 or longs(_BLOCK_AXES_AT, 2) != (0, 1):  # noqa: PLR2004
            return None
        rows, columns, height, width = longs(_DIMS_AT, _AXES)
        block, quad = longs(_BLOCK_SIZES_AT, 2)
        if quad != _QUAD or columns % _QUAD or block < 1 or any(longs(_OFFSETS_AT, _AXES + 9)):
            return None
        padded = (-(-rows // block) * block, columns, height, width)
        column_step = columns * block
        steps = (height * width * column_step, block * _QUAD, width * column_step, column_step)
        if longs(_PADDED_AT, _AXES) != padded or longs(_EXTRA_AT, 1) != (0,):
            return None
        given = longs(_STRIDES_AT, _AXES)
        counts = (padded[0] // block, columns // _QUAD, height, width)
        if any(one != other for one, other, count in zip(given, steps, counts, strict=True) if count > 1):
            return None
        return cls(rows, columns, height * width, block)

    @property
    def size_bytes(self) -> int:
        """Of the whole weight."""
        return -(-self.rows // self.block) * self.block * self.columns * self.window

    def write(self, values: NDArray[np.int8], room: NDArray[np.uint8]) -> None:
        """All values take their places; what fills up the last block stays.

        Args:
            values: int8 [rows, columns * window], contiguous.
            room: uint8 [size_bytes], contiguous.
        """
        length = self.columns * self.window
        scratch = np.empty((self._rows_at_once, length + _CACHE_LINE), np.int8)[:, :length]
        for rows, places in self._pieces(room):
            some = values[rows]
            if self.window > 1 or not length % _WAY:
                turned = scratch[: len(some)]
                by_column = some.reshape(-1, self.columns, self.window)
                np.copyto(turned.reshape(-1, self.window, self.columns), by_column.transpose(0, 2, 1))
                some = turned
            np.copyto(places, self._blocks(some, places).transpose(0, 2, 1))

    def read(self, room: NDArray[np.uint8]) -> NDArray[np.int8]:
        """The values of a window of one again: int8 [rows, columns]."""
        values = np.empty((self.rows, self.columns), np.int8)
        for rows, places in self._pieces(room):
            np.copyto(self._blocks(values[rows], places), places.transpose(0, 2, 1))
        return values

    @property
    def _rows_at_once(self) -> int:
        return max(1, _CHUNK_BYTES // (self.columns * self.window * self.block)) * self.block

    def _pieces(self, room: NDArray[np.uint8]) -> Iterator[tuple[slice, NDArray[np.uint32]]]:
        """Some rows at a time, and their places: uint32 [blocks, quads, rows of a block]."""
        quads = self.columns * self.window // _QUAD
        places = room.view(np.uint32).reshape(-1, quads, self.block)
        whole = self.rows // self.block
        step = self._rows_at_once // self.block
        for start in range(0, whole, step):
            stop = min(start + step, whole)
            yield slice(start * self.block, stop * self.block), places[start:stop]
        left = self.rows - whole * self.block
        if left:
            yield slice(self.rows - left, self.rows), places[whole:, :, :left]

    @staticmethod
    def _blocks(values: NDArray[np.int8], places: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """A view of rows by blocks: uint32 [blocks, rows of a block, quads]."""
        blocks, quads, rows = places.shape
        return values.reshape(blocks * rows, -1).view(np.uint32).reshape(blocks, rows, quads)


class Orders:
    """What is known of packed weights; any number of threads may ask."""

    def __init__(self) -> None:
        self._proven: dict[tuple[Order, tuple[int, ...]], bool] = {}

    def of(self, packed: torch.Tensor) -> Order | None:
        """The order of a packed weight; None where only oneDNN knows it."""
        try:
            descriptor = torch.ops.mkldnn._get_mkldnn_serialized_md(packed).numpy().tobytes()  # noqa: SLF001
        except (AttributeError, RuntimeError):  # another torch
            return None
        order = Order.described(descriptor)
        if order is None:
            return None
        key = order, tuple(packed.shape)
        if key not in self._proven:
            self._proven[key] = _is_proven(order, packed)
        return order if self._proven[key] else None


def packed_like(values: torch.Tensor, like: torch.Tensor, order: Order) -> torch.Tensor:
    """A new packed weight.

    Args:
        values: int8 [rows, columns, height, width], contiguous.
        like: One of the same shape, geometry and input; stays as it is.
        order: Of that.
    """
    packed = like.clone()
    order.write(values.numpy().reshape(order.rows, -1), _room(packed, order))
    return packed


def unpacked(packed: torch.Tensor, order: Order) -> torch.Tensor:
    """The values of a packed weight with a window of one: int8 [rows, columns, 1, 1]."""
    return torch.from_numpy(order.read(_room(packed, order))).view(order.rows, order.columns, 1, 1)


def _room(packed: torch.Tensor, order: Order) -> NDArray[np.uint8]:
    """The bytes of a packed weight, for as long as that lives."""
    array = (ctypes.c_uint8 * order.size_bytes).from_address(torch.ops.mkldnn.data_ptr(packed))
    return np.ctypeslib.as_array(array)


def _is_proven(order: Order, packed: torch.Tensor) -> bool:
    """Whether oneDNN finds what is written in this order."""
    shape = tuple(packed.shape)
    if len(shape) != _AXES or (*shape[:2], shape[2] * shape[3]) != (order.rows, order.columns, order.window):
        return False
    try:
        if torch.ops.mkldnn._nbytes(packed) != order.size_bytes:  # noqa: SLF001
            return False
        values = torch.from_numpy(np.random.default_rng(0).integers(-128, 128, shape, np.int8))
        trial = packed_like(values, packed, order)
    except (AttributeError, RuntimeError):  # another torch
        return False
    found = torch.equal(trial.to_dense(), values)
    return found and (order.window > 1 or torch.equal(unpacked(trial, order), values))
