"""Where oneDNN puts each value of a weight, so that rows are read and written without it.

Its own packing goes by single values, takes two to four times as long as two copies of an array, and wants
whole tensors. A weight's descriptor says where they are. What is read out of it is believed only after oneDNN
itself has found every value of a weight that was written by it. Where a descriptor says anything else than
what is known here, or torch does not give it, oneDNN packs.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Self

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
_CACHE_LINE: Final = 64


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

    def places(self, packed: torch.Tensor) -> NDArray[np.uint32]:
        """A packed weight's memory, for as long as it lives: uint32 [blocks, quads, rows of a block]."""
        array = (ctypes.c_uint8 * self.size_bytes).from_address(torch.ops.mkldnn.data_ptr.default(packed))
        quads = self.columns * self.window // _QUAD
        return np.ctypeslib.as_array(array).view(np.uint32).reshape(-1, quads, self.block)


@dataclass(frozen=True, slots=True, eq=False)
class OrderedRows:
    """The values of a packed weight; implements ``Rows``.

    Attributes:
        packed: The weight.
        order: Of its values.
        first: The row of the weight that is the first of these.
    """

    packed: torch.Tensor
    order: Order
    first: int = 0

    def read(self, rows: slice) -> NDArray[np.int8]:
        """See ``Rows``."""
        order, count = self.order, rows.stop - rows.start
        turned = np.empty((count, order.columns * order.window), np.int8)
        for some, places in self._pieces(rows):
            np.copyto(_by_block(turned[some], places), places.transpose(0, 2, 1))
        if order.window == 1:
            return turned
        values = np.empty((count, order.columns, order.window), np.int8)
        by_window = turned.reshape(count, order.window, order.columns)
        for at in range(order.window):
            values[:, :, at] = by_window[:, at]
        return values.reshape(count, -1)

    def write(self, rows: slice, values: NDArray[Any]) -> None:
        """See ``Rows``. Only where nobody else reads the weight yet."""
        order, count = self.order, rows.stop - rows.start
        length = order.columns * order.window
        # Lines more than a cache's way apart: rows of a power of two would push each other out of it.
        turned = np.empty((count, length + _CACHE_LINE), np.int8)[:, :length]
        by_column = values.reshape(count, order.columns, order.window)
        by_window = turned.reshape(count, order.window, order.columns)
        np.copyto(by_window, by_column.transpose(0, 2, 1), casting="unsafe")
        for some, places in self._pieces(rows):
            np.copyto(places, _by_block(turned[some], places).transpose(0, 2, 1))

    def since(self, start: int) -> Self:
        """See ``Rows``."""
        return replace(self, first=self.first + start)

    def _pieces(self, rows: slice) -> Iterator[tuple[slice, NDArray[np.uint32]]]:
        """Rows, counted from the first of these, that are whole blocks or within one, and their places."""
        places, block = self.order.places(self.packed), self.order.block
        start, stop = rows.start + self.first, rows.stop + self.first
        at = start
        while at < stop:
            index, inside = divmod(at, block)
            whole = 0 if inside else (stop - at) // block
            end = at + whole * block if whole else min(stop, at + block - inside)
            some = places[index : index + max(whole, 1), :, inside : inside + min(block, end - at)]
            yield slice(at - start, end - start), some
            at = end


def _by_block(values: NDArray[np.int8], places: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """A view of rows: uint32 [blocks, rows of a block, quads]."""
    blocks, quads, rows = places.shape
    return values.view(np.uint32).reshape(blocks, rows, quads)


def _described(packed: torch.Tensor) -> Order | None:
    try:
        descriptor = torch.ops.mkldnn._get_mkldnn_serialized_md.default(packed).numpy().tobytes()  # noqa: SLF001
    except (AttributeError, RuntimeError):  # another torch
        return None
    return Order.described(descriptor)


class Orders:
    """What is known of packed weights; any number of threads may ask.

    Args:
        described: What a packed weight's descriptor says.
    """

    def __init__(self, described: Callable[[torch.Tensor], Order | None] = _described) -> None:
        self._described = described
        self._proven: dict[tuple[Order, tuple[int, ...]], bool] = {}

    def of(self, packed: torch.Tensor) -> Order | None:
        """The order of a packed weight; None where only oneDNN knows it."""
        order = self._described(packed)
        if order is None:
            return None
        key = order, tuple(packed.shape)
        if key not in self._proven:
            self._proven[key] = _is_proven(order, packed)
        return order if self._proven[key] else None


def _is_proven(order: Order, packed: torch.Tensor) -> bool:
    """Whether oneDNN finds what is written in this order, and nothing else is found where it is read."""
    shape = tuple(packed.shape)
    if len(shape) != _AXES or (*shape[:2], shape[2] * shape[3]) != (order.rows, order.columns, order.window):
        return False
    try:
        if torch.ops.mkldnn._nbytes.default(packed) != order.size_bytes:  # noqa: SLF001
            return False
        values = np.random.default_rng(0).integers(
            -128, 128, (order.rows, order.columns * order.window), np.int8
        )
        rows = OrderedRows(packed.clone(), order)
        if torch.ops.mkldnn.data_ptr.default(rows.packed) == torch.ops.mkldnn.data_ptr.default(packed):
            return False  # no copy: what is there may be in use
        rows.write(slice(0, order.rows), values)
        found = rows.packed.to_dense().numpy().reshape(values.shape)
    except (AttributeError, RuntimeError):  # another torch
        return False
    return np.array_equal(found, values) and np.array_equal(rows.read(slice(0, order.rows)), values)
