"""Where weights come from while a model is measured: the float file, or one level held in memory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence

import torch

from common.manifest import Block
from server.quantize.fidelity.block_reader import BlockReader, BlockStates
from server.quantize.weights import WeightsFile


class FloatSource:
    """The model as it was pushed, each tensor in its own type; a ``common.graph.build.StateSource``."""

    def __init__(self, weights: WeightsFile) -> None:
        self._weights = weights

    def tensor(self, name: str) -> torch.Tensor:
        """A state by its name, read from disk."""
        return self._weights.whole(name)


class HeldSource:
    """All weights at one level, dequantized once; takes the memory of the model in 32-bit floats.

    A ``common.graph.build.StateSource``.

    Args:
        blocks: All blocks of the version.
        level: At which they are, or at their own base where that is higher.
        reader: Reads them.
    """

    def __init__(self, blocks: Sequence[Block], level: int, reader: BlockReader) -> None:
        self._tensors: dict[str, torch.Tensor] = {}
        for block in blocks:
            for part in block.tensors:
                self._tensors.setdefault(part.name, torch.empty(part.shape))
            self._put(reader.at(block, level))

    def tensor(self, name: str) -> torch.Tensor:
        """A state by its name; not to be changed."""
        return self._tensors[name]

    @contextlib.contextmanager
    def replaced(self, states: BlockStates) -> Iterator[None]:
        """A block's states are others for as long as the context lasts."""
        kept = BlockStates(
            {part: self._tensors[part.name][part.start : part.stop].clone() for part in states.rows},
            {name: self._tensors[name] for name in states.floats},
        )
        self._put(states)
        try:
            yield
        finally:
            self._put(kept)

    def _put(self, states: BlockStates) -> None:
        self._tensors |= states.floats
        for part, values in states.rows.items():
            self._tensors[part.name][part.start : part.stop] = values
