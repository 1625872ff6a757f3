"""A weight in an engine's own order: the only copy in memory, from which its codes come back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from device_agent.inference.integer.engines.port import Engine
from device_agent.inference.integer.layers import Geometry
from device_agent.inference.integer.regrid import Regrid, codes_of, regrid
from device_agent.inference.integer.rows import HeldRows, chunks
from device_agent.residency.codes import ByteCodes
from device_agent.residency.resident import ResidentPart

_ROW_BYTES = 8  # scale and offset


@dataclass(frozen=True, slots=True, eq=False)
class KernelWeight:
    """All rows of a tensor.

    Attributes:
        engine: Whose order it is.
        packed: The values, as the engine holds them.
        shape: Of the tensor, rows first.
        source: Shape of the input that was expected.
        regrids: One per part: how its values follow from its codes; None where they are its codes.
        starts: The first row of each part.
        levels: The level of each part.
        scale: float32 [rows], of the values.
        offset: float32 [rows], what is added to each weight; None where the values hold it.
    """

    engine: Engine
    packed: Any
    shape: tuple[int, ...]
    source: tuple[int, ...]
    regrids: tuple[Regrid | None, ...]
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

    def codes(self, at: int, stop: int) -> NDArray[np.uint8]:
        """The codes of a part, up to a row: uint8 [rows, columns], ``codes + 2**(level-1)``."""
        start = self.starts[at]
        unsigned = np.empty((stop - start, int(np.prod(self.shape[1:]))), np.uint8)
        values = self.engine.rows(self.packed).since(start)
        how = self.regrids[at]
        if how is not None:
            codes_of(values, how, unsigned)
            return unsigned
        zero = np.uint8(1 << (self.levels[at] - 1))
        for rows in chunks(unsigned.shape):
            np.add(values.read(rows).view(np.uint8), zero, out=unsigned[rows])
        return unsigned

    def part_bytes(self, at: int, rows: int) -> int:
        """Memory that some rows of a part take."""
        how = self.regrids[at]
        whole = self.engine.packed_bytes(self.packed) * rows // self.rows
        return whole + _ROW_BYTES * rows + (how.size_bytes if how else 0)


@dataclass(frozen=True, slots=True, eq=False)
class KernelCodes:
    """A part's codes inside a kernel's weight; implements ``residency.codes.Codes``.

    Attributes:
        weight: Holds them.
        at: Which part of it.
        level: Bits per code.
        count: How many.
        rows: How many rows they are.
    """

    weight: KernelWeight
    at: int
    level: int
    count: int
    rows: int

    @property
    def size_bytes(self) -> int:
        """Memory that they take."""
        return self.weight.part_bytes(self.at, self.rows)

    def unsigned(self) -> NDArray[np.uint8]:
        """See ``Codes``."""
        return self.weight.codes(self.at, self.weight.starts[self.at] + self.rows).reshape(-1)


def _unsigned(part: ResidentPart) -> NDArray[np.uint8]:
    """The codes of a part, not to be changed."""
    return part.codes.values if isinstance(part.codes, ByteCodes) else part.codes.unsigned()


def kernel_weight(
    parts: Sequence[ResidentPart],
    engine: Engine,
    geometry: Geometry,
    source: tuple[int, ...],
    *,
    exact: bool,
    before: KernelWeight | None = None,
) -> KernelWeight | None:
    """A tensor as an engine wants it.

    Args:
        parts: All its rows, in order, at any levels.
        engine: What will run it.
        geometry: Of its convolution.
        source: Shape of the input that is expected.
        exact: Whether the values shall be the codes and the offset stay apart; else it goes into the values.
        before: The tensor in an earlier state; stays as it is.

    Returns:
        The weight; None where int8 cannot hold a row with its offset.
    """
    shape = parts[0].part.shape
    columns = int(np.prod(shape[1:]))
    same = before is not None and before.engine is engine and before.source == source
    with torch.inference_mode():
        packed = engine.another(before.packed) if before and same else None
    held = None if packed is not None else np.empty((shape[0], columns), np.int8)
    values = engine.rows(packed) if held is None else HeldRows(held)
    scales: list[NDArray[np.float32]] = []
    regrids: list[Regrid | None] = []
    for part in parts:
        own = values.since(part.part.start)
        unsigned, level = _unsigned(part).reshape(-1, columns), part.codes.level
        affine = part.affine(level)
        if exact:
            for rows in chunks(unsigned.shape):
                own.write(rows, np.subtract(unsigned[rows], np.uint8(1 << (level - 1))).view(np.int8))
            scales.append(affine.scale)
            regrids.append(None)
            continue
        found = regrid(unsigned, level, affine, own)
        if found is None:
            return None
        scales.append(found[0])
        regrids.append(found[1])
    if held is not None:
        axes = (*shape, 1, 1)[: max(len(shape), 4)]
        with torch.inference_mode():
            packed = engine.pack(torch.from_numpy(held).view(axes), geometry, source)
    return KernelWeight(
        engine=engine,
        packed=packed,
        shape=shape,
        source=source,
        regrids=tuple(regrids),
        starts=tuple(part.part.start for part in parts),
        levels=tuple(part.codes.level for part in parts),
        scale=np.concatenate(scales),
        offset=np.concatenate([part.affine(part.codes.level).offset for part in parts]) if exact else None,
    )
