"""How far the weights at each level are from the float weights."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch

from common.fidelity import TensorFidelity
from common.manifest import Block, TensorPart
from server.quantize.fidelity.block_reader import BlockReader
from server.quantize.fidelity.figures import decibels, energy
from server.quantize.weights import WeightsFile


@dataclass(frozen=True, slots=True)
class PartErrors:
    """Energies of some rows.

    Attributes:
        name: The tensor's.
        levels: That the rows have, lowest first.
        shard_bits: Width of each shard.
        signal: Of the float weights.
        errors: Per level, of its distance from the float weights.
        drops: Per level, of its distance from the full-bit weights.
    """

    name: str
    levels: tuple[int, ...]
    shard_bits: tuple[int, ...]
    signal: float
    errors: tuple[float, ...]
    drops: tuple[float, ...]

    def error_at(self, level: int) -> float:
        """Energy of the error at a level, or at the lowest where that is higher."""
        return self.errors[self.levels.index(max(level, self.levels[0]))]


def part_errors(block: Block, weights: WeightsFile, reader: BlockReader) -> tuple[PartErrors, ...]:
    """One per part of the block, in its order."""
    levels = block.levels(reader.levels)
    floats = {part: _float_rows(weights, part) for part in block.tensors}
    full = reader.at(block, levels[-1]).rows
    below = {level: reader.at(block, level).rows for level in levels[:-1]} | {levels[-1]: full}
    return tuple(
        PartErrors(
            part.name,
            levels,
            tuple(step.shard_bits for step in block.steps(reader.levels)),
            _energy(floats[part]),
            tuple(_energy(below[level][part] - floats[part]) for level in levels),
            tuple(_energy(below[level][part] - full[part]) for level in levels),
        )
        for part in block.tensors
    )


def weight_sqnr_db(parts: Iterable[PartErrors], level: int) -> float | None:
    """Signal to error over all parts together, in decibels; None where there is no error."""
    parts = tuple(parts)
    return decibels(sum(part.signal for part in parts), sum(part.error_at(level) for part in parts))


def tensor_fidelities(
    parts: Sequence[PartErrors], roundings: Mapping[str, str]
) -> tuple[TensorFidelity, ...]:
    """One per tensor, in the order of their first part.

    Args:
        parts: Of all blocks.
        roundings: Tensor name to the mode that chose its codes.
    """
    by_name: dict[str, list[PartErrors]] = defaultdict(list)
    for part in parts:
        by_name[part.name].append(part)
    return tuple(_tensor(found, roundings[name]) for name, found in by_name.items())


def weight_sensitivity(blocks: Sequence[Sequence[PartErrors]]) -> dict[tuple[int, int], float]:
    """Block index and level to what the block's weights are off from full-bit there.

    An error counts as a share of its tensor's energy: how loud a layer is, the next one evens out.
    """
    signals: dict[str, float] = defaultdict(float)
    for parts in blocks:
        for part in parts:
            signals[part.name] += part.signal
    return {
        (index, level): sum(part.drops[place] / (signals[part.name] or 1.0) for part in parts)
        for index, parts in enumerate(blocks)
        if parts
        for place, level in enumerate(parts[0].levels)
    }


def _tensor(parts: Sequence[PartErrors], rounding: str) -> TensorFidelity:
    lowest = min(parts, key=lambda part: part.levels[0])
    return TensorFidelity(
        lowest.name,
        rounding,
        lowest.levels,
        tuple(weight_sqnr_db(parts, level) for level in lowest.levels),
        lowest.shard_bits,
    )


def _float_rows(weights: WeightsFile, part: TensorPart) -> torch.Tensor:
    return weights.rows(part.name, part.start, part.stop).to(torch.float32)


def _energy(rows: torch.Tensor) -> float:
    return energy(rows.numpy())
