"""A weight in an engine's own order: the only copy in memory, from which its codes come back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from device_agent.inference.integer.engines.port import Engine
from device_agent.inference.integer.regrid import Gridding, Regrid
from device_agent.residency.bit_planes import BYTE_BITS, shift_up
from device_agent.residency.code_steps import lift_codes
from device_agent.residency.codes import CHUNK, ByteCodes, Movable, Shards

_ROW_BYTES: Final = 8  # scale and offset


@dataclass(frozen=True, slots=True, eq=False)
class KernelWeight:
    """All rows of a tensor.

    Attributes:
        engine: Whose order it is.
        packed: The values, as the engine holds them.
        shape: Of the tensor, rows first.
        source: Shape of the input that was expected.
        how: How the values follow from the codes.
        known: By the levels of the parts, how they follow there, as far as it is remembered.
        starts: The first row of each part.
        levels: The level of each part.
        scale: float32 [rows], of the values.
        offset: float32 [rows], what is added to each weight; None where the values hold it.
    """

    engine: Engine
    packed: Any
    shape: tuple[int, ...]
    source: tuple[int, ...]
    how: Regrid
    known: Mapping[tuple[int, ...], Regrid]
    starts: tuple[int, ...]
    levels: tuple[int, ...]
    scale: NDArray[np.float32]
    offset: NDArray[np.float32] | None

    @property
    def rows(self) -> int:
        """How many rows it has."""
        return self.shape[0]

    @property
    def kernel(self) -> tuple[int, int]:
        """Height and width of a convolution's window; 1 x 1 for a matrix."""
        height, width = (*self.shape[2:], 1, 1)[:2]
        return height, width

    def codes(self, start: int, stop: int) -> NDArray[np.uint8]:
        """The codes of some rows, moved up to 8 bits: uint8 [rows, places]."""
        laid = self.engine.laid(self.packed)
        gridding = Gridding(self.how, laid)
        unsigned = np.empty((stop - start, laid.lanes.places), np.uint8)
        for chunk in laid.lanes.chunks():
            own = chunk.within(start, stop)
            if own:
                high = np.empty(laid.lanes.shape_of(chunk), np.uint8)
                gridding.codes(chunk, high)
                rows = laid.lanes.read_rows(high, chunk.rows.stop - chunk.rows.start)
                unsigned[own[0]] = rows[own[1]]
        return unsigned

    def part_bytes(self, rows: int) -> int:
        """Memory that some of its rows take."""
        hows = {id(how): how for how in (self.how, *self.known.values())}
        known_bytes = sum(how.size_bytes for how in hows.values())
        whole_bytes = self.engine.packed_bytes(self.packed) + known_bytes
        return whole_bytes * rows // self.rows + _ROW_BYTES * rows


@dataclass(frozen=True, slots=True, eq=False)
class KernelCodes(Movable):
    """A part's codes inside a kernel's weight; implements ``residency.codes.Codes``.

    Attributes:
        weight: Holds them.
        at: Which part of it.
        count: How many.
        rows: How many rows they are.
    """

    weight: KernelWeight
    at: int
    count: int
    rows: int

    @property
    def level(self) -> int:
        """Bits per code."""
        return self.weight.levels[self.at]

    @property
    def size_bytes(self) -> int:
        """Memory that they take."""
        return self.weight.part_bytes(self.rows)

    def unsigned(self) -> NDArray[np.uint8]:
        """See ``Codes``."""
        start = self.weight.starts[self.at]
        high = self.weight.codes(start, start + self.rows).reshape(-1)
        return np.right_shift(high, BYTE_BITS - self.level, out=high)

    def moved(self, level: int, shards: Shards) -> MovedCodes:
        """See ``Movable``."""
        return MovedCodes(self, level, shards)


@dataclass(frozen=True, slots=True, eq=False)
class MovedCodes:
    """Codes of a kernel's weight that are about to be at another level; implements ``residency.codes.Codes``.

    The weight that is made of them takes their place before they are published.

    Attributes:
        before: Where they come from.
        level: Where they go.
        shards: What leads there; none for a step down.
    """

    before: KernelCodes
    level: int
    shards: Shards

    @property
    def count(self) -> int:
        """Codes in all."""
        return self.before.count

    @property
    def size_bytes(self) -> int:
        """Memory that they take: that of the weight which they are still in."""
        return self.before.size_bytes

    def unsigned(self) -> NDArray[np.uint8]:
        """See ``Codes``."""
        codes, before = self.before.unsigned(), self.before.level
        if not self.shards:
            return np.right_shift(codes, before - self.level, out=codes)
        lifted, _ = lift_codes(ByteCodes(before, codes), self.shards, unpacked=True)
        return lifted.unsigned()

    def add_low(self, start: int, out: NDArray[np.uint8]) -> None:
        """The bits that the shards add to codes of 8 bits, from a code on, as many as ``out`` takes."""
        drop = BYTE_BITS - self.level
        for at in range(0, out.size, CHUNK):
            some = out[at : at + CHUNK]
            for index, (step, values) in enumerate(self.shards):
                if index:
                    shift_up(some, step.bits)
                    np.bitwise_or(some, values.read(start + at, some.size), out=some)
                else:
                    some[:] = values.read(start + at, some.size)
            if drop:
                shift_up(some, drop)
