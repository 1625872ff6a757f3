"""Kernels' weights out of codes: of any form, or of a weight that is there already, where its values lie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from common.rows import Affine
from device_agent.inference.integer.engines.port import Engine
from device_agent.inference.integer.lanes import Chunk, Laid, Lanes
from device_agent.inference.integer.layers import Geometry
from device_agent.inference.integer.regrid import Gridding, Regrid, fit, scale_of
from device_agent.inference.integer.weights import KernelCodes, KernelWeight, MovedCodes
from device_agent.residency.bit_planes import BYTE_BITS
from device_agent.residency.codes import ByteCodes
from device_agent.residency.resident import ResidentPart

_ALL: Final = 0xFF
_SHARE: Final = 16  # how values follow is remembered as far as it takes one part in so many of the weight

_Moved: TypeAlias = tuple[ResidentPart, MovedCodes]


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
    packed, laid = _another(before, engine, source) or (None, Laid.plain(np.empty(shape, np.int8)))
    moved = _moved(parts, before) if before and packed is not None else None
    codes = _OfParts(parts, laid.lanes) if before is None or moved is None else _OfWeight(before, laid, moved)
    levels, by_row, affine = tuple(part.codes.level for part in parts), _levels(parts), _affine(parts)
    known = _known(before, exact=exact)
    how = _laid_out(codes, laid, known.get(levels) or partial(fit, laid, by_row, affine, exact=exact))
    if how is None:
        return None
    if packed is None:
        axes = (*shape, 1, 1)[: max(len(shape), 4)]
        with torch.inference_mode():
            packed = engine.pack(torch.from_numpy(laid.memory.view(np.int8)).view(axes), geometry, source)
    return KernelWeight(
        engine=engine,
        packed=packed,
        shape=shape,
        source=source,
        how=how,
        known={} if exact else _remembered({**known, levels: how}, laid.lanes.size_bytes // _SHARE),
        starts=tuple(part.part.start for part in parts),
        levels=levels,
        scale=scale_of(how, by_row, affine),
        offset=affine.offset if exact else None,
    )


def _known(before: KernelWeight | None, *, exact: bool) -> Mapping[tuple[int, ...], Regrid]:
    """How values follow from codes at levels where the tensor has been: there its codes are the same."""
    return before.known if before and not exact and before.offset is None else {}


def _remembered(known: Mapping[tuple[int, ...], Regrid], most_bytes: int) -> Mapping[tuple[int, ...], Regrid]:
    """As many as fit, the last ones first."""
    kept: dict[tuple[int, ...], Regrid] = {}
    for levels, how in reversed(list(known.items())):
        most_bytes -= how.size_bytes
        if most_bytes >= 0:
            kept[levels] = how
    return dict(reversed(list(kept.items())))


def _laid_out(
    codes: _OfParts | _OfWeight, laid: Laid, how: Regrid | Callable[[], Regrid | None]
) -> Regrid | None:
    """Codes become values where they shall lie: in one go where it is known how, or after a look at all."""
    if isinstance(how, Regrid):
        gridding = Gridding(how, laid)
        for chunk in laid.lanes.chunks():
            codes.read(chunk, laid.memory[chunk.blocks])
            gridding.values(chunk)
        return how
    for chunk in laid.lanes.chunks():
        codes.read(chunk, laid.memory[chunk.blocks])
    found = how()
    if found is not None:
        gridding = Gridding(found, laid)
        for chunk in laid.lanes.chunks():
            gridding.values(chunk)
    return found


def _another(before: KernelWeight | None, engine: Engine, source: tuple[int, ...]) -> tuple[Any, Laid] | None:
    """A packed weight to write into; None where there is none before, or one that was packed otherwise."""
    if before is None or before.engine is not engine or before.source != source:
        return None
    with torch.inference_mode():
        return engine.another(before.packed)


def _levels(parts: Sequence[ResidentPart]) -> NDArray[np.uint8]:
    """uint8 [rows]: the level of each."""
    return np.repeat(
        np.array([part.codes.level for part in parts], np.uint8), [part.part.rows for part in parts]
    )


def _affine(parts: Sequence[ResidentPart]) -> Affine:
    """Of all rows, each at its level."""
    each = [part.affine(part.codes.level) for part in parts]
    return Affine(np.concatenate([one.scale for one in each]), np.concatenate([one.offset for one in each]))


class _OfParts:
    """Codes of a tensor's parts, in any form."""

    def __init__(self, parts: Sequence[ResidentPart], lanes: Lanes) -> None:
        self._parts = [(part, _unsigned(part).reshape(-1, lanes.places)) for part in parts]
        self._lanes = lanes

    def read(self, chunk: Chunk, out: NDArray[np.uint8]) -> None:
        """Those of a chunk, moved up to 8 bits, in the order of memory; padding gets zeros."""
        rows = np.empty((chunk.rows.stop - chunk.rows.start, self._lanes.places), np.uint8)
        for part, unsigned in self._parts:
            own = chunk.within(part.part.start, part.part.stop)
            if own:
                np.multiply(unsigned[own[0]], 1 << (BYTE_BITS - part.codes.level), out=rows[own[1]])
        self._lanes.write_rows(rows, out)


def _unsigned(part: ResidentPart) -> NDArray[np.uint8]:
    """The codes of a part, not to be changed."""
    return part.codes.values if isinstance(part.codes, ByteCodes) else part.codes.unsigned()


class _OfWeight:
    """Codes of a weight at the levels where its parts go, out of a copy of its values."""

    def __init__(self, before: KernelWeight, copy: Laid, parts: Sequence[_Moved]) -> None:
        self._gridding = Gridding(before.how, copy)
        self._lanes = copy.lanes
        self._parts = parts
        lower = any(codes.level < codes.before.level for _, codes in parts)
        self._masks = _masks(before.rows, copy.lanes, parts) if lower else None

    def read(self, chunk: Chunk, out: NDArray[np.uint8]) -> None:
        """Those of a chunk, moved up to 8 bits, in the order of memory; padding gets zeros.

        Args:
            chunk: Which.
            out: The copy's own memory, or any other.
        """
        self._gridding.codes(chunk, out)
        if self._masks is not None:
            folded = self._lanes.folded(out)
            np.bitwise_and(folded, self._masks[chunk.blocks], out=folded)
        low = self._low(chunk)
        if low is not None:
            placed = np.empty_like(out)
            self._lanes.write_rows(low, placed)
            np.bitwise_or(out, placed, out=out)

    def _low(self, chunk: Chunk) -> NDArray[np.uint8] | None:
        """What shards add: uint8 [rows of the chunk, places]; None where that is nothing."""
        shape = chunk.rows.stop - chunk.rows.start, self._lanes.places
        own = [
            (codes, rows)
            for part, codes in self._parts
            if codes.shards and (rows := chunk.within(part.part.start, part.part.stop))
        ]
        if not own:
            return None
        whole = len(own) == 1 and own[0][1][1] == slice(0, shape[0])
        low = np.empty(shape, np.uint8) if whole else np.zeros(shape, np.uint8)
        for codes, (of_part, of_chunk) in own:
            codes.add_low(of_part.start * shape[1], low[of_chunk].reshape(-1))
        return low


def _masks(rows: int, lanes: Lanes, parts: Sequence[_Moved]) -> NDArray[np.uint8]:
    """The bits that each row keeps, for each block of folded memory."""
    masks = np.full(rows, _ALL, np.uint8)
    for part, codes in parts:
        masks[part.part.start : part.part.stop] = _ALL << (BYTE_BITS - codes.level) & _ALL
    if (masks == masks[0]).all():
        return np.full((lanes.shape[0], 1, 1), masks[0])
    return lanes.per_row(masks)


def _moved(parts: Sequence[ResidentPart], before: KernelWeight) -> list[_Moved] | None:
    """Parts that go elsewhere from a weight; None where some come from anywhere else."""
    moved = []
    for part in parts:
        codes = part.codes
        if isinstance(codes, MovedCodes) and codes.before.weight is before:
            moved.append((part, codes))
        elif not (isinstance(codes, KernelCodes) and codes.weight is before):
            return None
    return moved
