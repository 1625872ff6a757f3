"""Where the values of a weight's rows lie in memory, and pieces of them that stay in a core's cache.

Kernels want rows side by side: of a few of them, some neighbouring values of each, then the next values of
each. What a change of levels does to a value needs to know its row and its place there, and nothing else; so
it is done where values lie, and only what comes from outside in rows is brought into their order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from device_agent.residency.courtesy import REQUESTS

UNIT_BITS: Final = 7
UNIT: Final = 1 << UNIT_BITS  # dithers lie in [0, UNIT)
HALF: Final = 128  # what is added to codes of 8 bits, and to values, to make them unsigned
FEWEST_DITHERED: Final = 16  # places of a row, for errors to cancel out
_STEP: Final = 79  # times the place, modulo UNIT: visits every dither, and evenly, as 0.618 of UNIT
_NEAREST: Final = UNIT // 2 - 1  # as a dither: rounds to nearest, halves down
_CHUNK: Final = 3 << 17  # values at a time: they stay in the cache, and calls are few
_PERIOD: Final = 32  # steps of four columns after which dithers come again
_FOLD: Final = 32  # at most so many steps make a line; divides the period
_CACHE_LINE: Final = 64
_KEPT: Final = 32  # arrays of dithers, each of some kilobytes

_Any = TypeVar("_Any", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some blocks of a weight.

    Attributes:
        blocks: Which.
        rows: Which rows of the weight these are; padding is none.
    """

    blocks: slice
    rows: slice

    def within(self, start: int, stop: int) -> tuple[slice, slice] | None:
        """Some rows of the weight that are in here, counted from their first, and from this chunk's.

        None where there are none.
        """
        begin, end = max(start, self.rows.start), min(stop, self.rows.stop)
        if begin >= end:
            return None
        return slice(begin - start, end - start), slice(begin - self.rows.start, end - self.rows.start)


@dataclass(frozen=True, slots=True)
class Lanes:
    """Blocks of rows; in each, by place of the window, ``lane`` columns at a time, the rows side by side.

    The memory is uint8 [blocks, steps, block * lane]. The places of a row are counted as its values lie in
    the tensor: by column, and by place of the window in each.

    Attributes:
        rows: Of the weight; the last block is filled up with zeros.
        columns: Of the weight.
        window: Places of its window.
        block: Rows side by side.
        lane: Columns of a row side by side; divides ``columns``.
    """

    rows: int
    columns: int
    window: int
    block: int
    lane: int

    @classmethod
    def plain(cls, rows: int, places: int) -> Self:
        """Rows one behind the other, as in the tensor."""
        return cls(rows, places, 1, 1, places)

    @property
    def places(self) -> int:
        """Values in a row."""
        return self.columns * self.window

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the memory."""
        return -(-self.rows // self.block), self.places // max(self.lane, 1), self.block * self.lane

    @property
    def size_bytes(self) -> int:
        """Of the memory."""
        blocks, steps, width = self.shape
        return blocks * steps * width

    def shape_of(self, chunk: Chunk) -> tuple[int, int, int]:
        """Of a chunk's memory."""
        return chunk.blocks.stop - chunk.blocks.start, *self.shape[1:]

    def chunks(self) -> Iterator[Chunk]:
        """All rows, as many at a time as a core's cache holds; requests come before each."""
        count, steps, width = self.shape
        most = max(1, _CHUNK // max(steps * width, 1))
        for start in range(0, count, most):
            stop = min(start + most, count)
            rows = slice(start * self.block, min(stop * self.block, self.rows))
            yield Chunk(slice(start, stop), rows)
            REQUESTS.give_way()

    def folded(self, memory: NDArray[_Any]) -> NDArray[_Any]:
        """A view of a chunk's memory in lines so long that a loop over each is worth its beginning."""
        return memory.reshape(len(memory), -1, self._fold * self.block * self.lane)

    def per_row(self, values: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A number for each row, to be used on folded memory, block by block; padding gets zeros."""
        if self.block == 1:
            return values[:, None, None]
        blocks, _, width = self.shape
        if values.size % self.block:
            values = np.concatenate((values, np.zeros(blocks * self.block - values.size, np.uint8)))
        line = values.repeat(self.lane).reshape(blocks, 1, 1, width)
        return np.broadcast_to(line, (blocks, 1, self._fold, width)).reshape(blocks, 1, -1)

    def dithered(self, rest: NDArray[np.uint8], out: NDArray[np.bool_]) -> None:
        """Where the dither of a place and the rest of a row are a unit together, in memory's order.

        Args:
            rest: In [0, UNIT), as ``per_row`` gives it.
            out: bool, as the chunk's memory; never so in padding.
        """
        left = _left(self.columns, self.window, self.block, self.lane, self._fold)
        folded = out.reshape(len(out), self.window, -1, *left.shape[2:])
        np.less(left, rest[:, None, None], out=folded)

    def places_of(self, at: NDArray[np.intp]) -> NDArray[np.intp]:
        """Flat indices into memory as flat indices into the tensor, whose rows are those of the memory."""
        _, steps, width = self.shape
        line, inside = np.divmod(at, width)
        block, step = np.divmod(line, steps)
        row, lane = np.divmod(inside, self.lane)
        at_window, column = np.divmod(step * self.lane + lane, self.columns)
        places: NDArray[np.intp] = (block * self.block + row) * self.places + column * self.window + at_window
        return places

    def indices_of(self, places: NDArray[Any]) -> NDArray[np.intp]:
        """The inverse of ``places_of``."""
        _, steps, width = self.shape
        rows, inside = np.divmod(places.astype(np.intp), self.places)
        column, at_window = np.divmod(inside, self.window)
        step, lane = np.divmod(at_window * self.columns + column, self.lane)
        block, row = np.divmod(rows, self.block)
        indices: NDArray[np.intp] = (block * steps + step) * width + row * self.lane + lane
        return indices

    def write_rows(self, values: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Rows of the tensor come into memory's order.

        Args:
            values: uint8 [rows of the chunk, places].
            out: The chunk's memory; padding becomes zeros.
        """
        blocks, _, _ = out.shape
        if self.block == 1:
            out.reshape(values.shape)[:] = values
            return
        # Lines more than a cache's way apart: rows of a power of two would push each other out of it.
        turned = np.empty((blocks * self.block, self.places + _CACHE_LINE), np.uint8)[:, : self.places]
        turned[len(values) :] = 0
        by_window = turned[: len(values)].reshape(len(values), self.window, self.columns)
        by_window[:] = values.reshape(len(values), self.columns, self.window).transpose(0, 2, 1)
        self._lines(out)[:] = turned.view(self._word).reshape(blocks, self.block, -1).transpose(0, 2, 1)

    def read_rows(self, memory: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
        """Rows of a chunk's memory as in the tensor: uint8 [count, places]."""
        if self.block == 1:
            return memory.reshape(-1, self.places)[:count]
        turned = np.empty((len(memory) * self.block, self.places), np.uint8)
        by_row = turned.view(self._word).reshape(len(memory), self.block, -1)
        by_row[:] = self._lines(memory).transpose(0, 2, 1)
        return self._unturned(turned[:count])

    def pick_rows(self, memory: NDArray[np.uint8], rows: NDArray[np.intp]) -> NDArray[np.uint8]:
        """Single rows of memory: uint8 [picked, places]."""
        if self.block == 1:
            picked: NDArray[np.uint8] = memory.reshape(-1, self.places)[rows]
            return picked
        block, row = np.divmod(rows, self.block)
        return self._unturned(self._lines(memory)[block, :, row].view(np.uint8))

    def put_rows(self, memory: NDArray[np.uint8], rows: NDArray[np.intp], values: NDArray[np.uint8]) -> None:
        """The inverse of ``pick_rows``, into memory."""
        if self.block == 1:
            memory.reshape(-1, self.places)[rows] = values
            return
        block, row = np.divmod(rows, self.block)
        turned = np.empty((rows.size, self.window, self.columns), np.uint8)
        turned[:] = values.reshape(rows.size, self.columns, self.window).transpose(0, 2, 1)
        self._lines(memory)[block, :, row] = turned.reshape(rows.size, -1).view(self._word)

    @property
    def _fold(self) -> int:
        """Steps that make a line."""
        return math.gcd(self.columns // max(self.lane, 1), _FOLD)

    @property
    def _word(self) -> np.dtype[Any]:
        """The values of a lane in one."""
        return np.dtype(f"u{self.lane}")

    def _lines(self, memory: NDArray[np.uint8]) -> NDArray[Any]:
        return memory.view(self._word).reshape(len(memory), -1, self.block)

    def _unturned(self, turned: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.window == 1:
            return turned
        values = np.empty((len(turned), self.columns, self.window), np.uint8)
        by_window = turned.reshape(len(turned), self.window, self.columns)
        for at in range(self.window):
            values[:, :, at] = by_window[:, at]
        return values.reshape(len(turned), -1)


@dataclass(frozen=True, slots=True, eq=False)
class Laid:
    """The values of a weight where they lie.

    Attributes:
        lanes: How.
        memory: int8 as uint8, of the shape that ``lanes`` says.
    """

    lanes: Lanes
    memory: NDArray[np.uint8]

    @classmethod
    def plain(cls, values: NDArray[np.int8]) -> Self:
        """int8 [rows, ...] as it is."""
        lanes = Lanes.plain(len(values), values[0].size if len(values) else 0)
        return cls(lanes, values.view(np.uint8).reshape(lanes.shape))


@lru_cache(_KEPT)
def dither(places: int) -> NDArray[np.uint8]:
    """uint8 [places] in [0, UNIT), read-only; where places are too few, what rounds to nearest."""
    if places < FEWEST_DITHERED:
        found = np.full(places, _NEAREST, np.uint8)
    else:
        found = (np.arange(places) * _STEP % UNIT).astype(np.uint8)
    found.flags.writeable = False
    return found


@lru_cache(_KEPT)
def _left(columns: int, window: int, block: int, lane: int, fold: int) -> NDArray[np.uint8]:
    """What each dither of a block leaves below a unit, less one.

    uint8 [window, 1, lines until they come again, fold * block * lane], read-only.
    """
    turned = (UNIT - 1 - dither(columns * window)).reshape(columns, window).T
    by_step = turned.reshape(window, -1, 1, lane)
    if lane * _PERIOD % UNIT == 0 and by_step.shape[1] % _PERIOD == 0:
        by_step = by_step[:, :_PERIOD]
    by_row = np.broadcast_to(by_step, (*by_step.shape[:2], block, lane))
    found = by_row.reshape(window, 1, -1, fold * block * lane)
    found.flags.writeable = False
    return found
