"""The version before, as far as the next one may keep of it: read from its blobs, a block at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from common.block_codec import Content, decode_blobs
from common.errors import IntegrityError, InvalidInputError, NotFoundError
from common.graph import codec
from common.graph.model import Range
from common.manifest import Block, Manifest, TensorPart
from common.nesting import lift, lower
from common.rows import Fit, Grid
from server.quantize.frozen import Held

_UNREADABLE: Final = (NotFoundError, IntegrityError, InvalidInputError)


class HeldVersion:
    """Rows and ranges of a version; has the blobs of one block in memory at a time.

    What cannot be read is as if it had never been: the next version then makes its own.

    Args:
        manifest: The version's.
        read: A blob's bytes by digest.
    """

    def __init__(self, manifest: Manifest, read: Callable[[str], bytes]) -> None:
        self._manifest = manifest
        self._read = read
        self._parts: dict[tuple[str, tuple[int, ...]], list[tuple[TensorPart, Block]]] = defaultdict(list)
        for block in manifest.blocks:
            for part in block.tensors:
                self._parts[part.name, part.shape].append((part, block))
        for found in self._parts.values():
            found.sort(key=lambda item: item[0].start)
        self._decoded: tuple[Block | None, list[Content]] = (None, [])

    def rows(self, part: TensorPart) -> Held | None:
        """What it has for these rows of a tensor of this name and shape, whichever of its blocks hold them.

        None where it lacks some of them.
        """
        pieces, start = [], part.start
        try:
            for other, block in self._parts.get((part.name, part.shape), ()):
                if other.start <= start < min(other.stop, part.stop):
                    stop = min(other.stop, part.stop)
                    pieces.append(self._held(block, other)[start - other.start : stop - other.start])
                    start = stop
        except _UNREADABLE:
            return None
        return _joined(pieces) if start == part.stop else None

    def ranges(self) -> Mapping[str, Range]:
        """Of its graph's values, by name."""
        try:
            graph = codec.from_zstd(self._read(self._manifest.graph.digest))
        except _UNREADABLE:
            return {}
        return {item.value: item for item in graph.ranges}

    def _held(self, block: Block, part: TensorPart) -> Held:
        contents, at = self._contents(block), block.tensors.index(part)
        levels = block.levels(self._manifest.levels)
        codes = (contents[0].values[at] - np.uint8(1 << (levels[0] - 1))).view(np.int8)
        carries: dict[int, NDArray[np.int8]] = {}
        for content, step in zip(contents[1:], block.steps(self._manifest.levels), strict=True):
            low = codes
            codes = lift(low, content.values[at], step.bits, shard_zero=step.shard_zero)
            if step.carry_bits:
                carries[step.low] = (low - lower(codes, step.bits)).reshape(part.rows, -1)
        fits = {
            level: content.fits[at] for level, content in zip(levels, contents, strict=True) if content.fits
        }
        return Held(levels[-1], codes.reshape(part.rows, -1), contents[0].grids[at], fits, carries)

    def _contents(self, block: Block) -> list[Content]:
        if self._decoded[0] is not block:
            self._decoded = (None, [])
            self._decoded = (block, decode_blobs(block, self._manifest.levels, self._read))
        return self._decoded[1]


def _joined(pieces: list[Held]) -> Held:
    """Neighbouring rows as one; of levels, those alone that all have."""
    first = pieces[0]
    if len(pieces) == 1:
        return first
    return Held(
        first.full_level,
        np.concatenate([piece.codes for piece in pieces]),
        Grid(
            np.concatenate([piece.grid.scale for piece in pieces]),
            np.concatenate([piece.grid.zero for piece in pieces]),
        ),
        {
            level: Fit(
                np.concatenate([piece.fits[level].slope for piece in pieces]),
                np.concatenate([piece.fits[level].shift for piece in pieces]),
            )
            for level in first.fits
            if all(level in piece.fits for piece in pieces)
        },
        {
            level: np.concatenate([piece.carries[level] for piece in pieces])
            for level in first.carries
            if all(level in piece.carries for piece in pieces)
        },
    )
