"""What each block alone does to the outputs when it is lowered, and what its shards gain by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from common.fidelity import BlockSensitivity, ShardGain
from common.manifest import Block
from server.quantize.fidelity.answers import Answers, compare
from server.quantize.fidelity.block_reader import BlockReader
from server.quantize.fidelity.figures import significant
from server.quantize.fidelity.model_runs import Batch, ModelRuns
from server.quantize.fidelity.sample_budget import affordable_samples
from server.quantize.fidelity.sources import HeldSource


@dataclass(frozen=True, slots=True)
class OutputErrors:
    """What was measured.

    Attributes:
        samples: On how many of the first samples; 0 where the time sufficed for none.
        errors: Block index and part-bit level to the energy of the output's error as a share of the full-bit
            model's output, mean over samples.
    """

    samples: int
    errors: Mapping[tuple[int, int], float]


def count_forwards(blocks: Sequence[Block], reader: BlockReader) -> int:
    """How often the model runs for all blocks at all their part-bit levels."""
    return sum(1 for _ in _lowered(blocks, reader))


def output_errors(
    runs: ModelRuns,
    blocks: Sequence[Block],
    reader: BlockReader,
    *,
    available: int,
    budget_seconds: float,
    now_seconds: Callable[[], float],
    advance: Callable[[], None],
) -> OutputErrors:
    """Every block alone at every part-bit level of its own, all others at full-bit.

    Args:
        runs: The model.
        blocks: All of the version.
        reader: Reads them.
        available: How many samples may be used, at least 1.
        budget_seconds: About what all runs may take; fewer samples are used where they would take more.
        now_seconds: A clock that never runs backwards.
        advance: Called after each run.

    Raises:
        InvalidInputError: An output is NaN; names block and level.
    """
    lowered = tuple(_lowered(blocks, reader))
    if not lowered:
        return OutputErrors(0, {})
    full = HeldSource(blocks, reader.levels[-1], reader)

    def answers(index: int, level: int, count: int) -> Answers:
        with full.replaced(reader.rows(blocks[index], level)):
            return runs.answers(full, Batch(0, count), where=f"with block {index} at {level} bits")

    def seconds_of(count: int) -> float:
        start_seconds = now_seconds()
        answers(*lowered[0], count)
        return now_seconds() - start_seconds

    count = affordable_samples(available, len(lowered), seconds_of, budget_seconds)
    if not count:
        return OutputErrors(0, {})
    reference = runs.answers(full, Batch(0, count), where=f"at {reader.levels[-1]} bits")
    errors = {}
    for index, level in lowered:
        difference = compare(answers(index, level, count), reference)
        errors[index, level] = float(difference.relative().mean())
        advance()
    return OutputErrors(count, errors)


def block_sensitivities(
    blocks: Sequence[Block], reader: BlockReader, errors: Mapping[tuple[int, int], float]
) -> tuple[BlockSensitivity, ...]:
    """One per block with quantized tensors.

    Args:
        blocks: All of the version.
        reader: Knows their levels.
        errors: Block index and level to the error that the block causes there; 0 at full-bit.
    """
    return tuple(
        BlockSensitivity(
            index,
            block.tensors[0].name,
            len(block.tensors),
            reader.own_levels(block)[0],
            tuple(_gains(index, block, reader.own_levels(block), errors)),
        )
        for index, block in enumerate(blocks)
        if block.tensors
    )


def _gains(
    index: int, block: Block, levels: Sequence[int], errors: Mapping[tuple[int, int], float]
) -> Iterator[ShardGain]:
    for low, high, ref in zip(levels, levels[1:], block.blobs[1:], strict=False):
        above = errors[index, high] if high != levels[-1] else 0.0
        yield ShardGain(high, ref.size_bytes, significant(max(0.0, errors[index, low] - above)))


def _lowered(blocks: Sequence[Block], reader: BlockReader) -> Iterator[tuple[int, int]]:
    for index, block in enumerate(blocks):
        for level in reader.own_levels(block)[:-1]:
            if block.tensors:
                yield index, level
