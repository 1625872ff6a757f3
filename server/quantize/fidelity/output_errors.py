"""What each block alone does to the outputs when it is lowered and all others stay at full-bit."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common.manifest import Block
from server.quantize.fidelity.answers import Answers, compare
from server.quantize.fidelity.block_reader import BlockReader
from server.quantize.fidelity.model_runs import Batch, ModelRuns
from server.quantize.fidelity.sample_budget import affordable_samples
from server.quantize.fidelity.sources import HeldSource

_DELAY: Final = 0.25  # how far, as a share of the budget, runs may lag behind before fewer samples are taken


@dataclass(frozen=True, slots=True)
class OutputErrors:
    """What was measured.

    Attributes:
        samples: On how many of the first samples; 0 where the time sufficed for none.
        errors: Block index and part-bit level to the energy of the output's error as a share of the full-bit
            model's output, mean over samples; one for every block at every part-bit level of its own, or
            nothing at all.
    """

    samples: int
    errors: Mapping[tuple[int, int], float]


class LoweredRuns:
    """A model whose blocks are lowered one at a time.

    Args:
        runs: The model.
        blocks: All of the version.
        reader: Reads them.
        now_seconds: A clock that never runs backwards.
    """

    def __init__(
        self, runs: ModelRuns, blocks: Sequence[Block], reader: BlockReader, now_seconds: Callable[[], float]
    ) -> None:
        self._runs = runs
        self._blocks = blocks
        self._reader = reader
        self._now_seconds = now_seconds
        self._lowered = tuple(_lowered(blocks, reader))

    @property
    def count(self) -> int:
        """How often the model runs for all blocks at all their part-bit levels."""
        return len(self._lowered)

    def errors(self, available: int, budget_seconds: float, advance: Callable[[], None]) -> OutputErrors:
        """All of them, on as many samples as the time has room for.

        Args:
            available: How many samples may be used, at least 1.
            budget_seconds: About what all runs may take.
            advance: Called once for each, as it is done.

        Raises:
            InvalidInputError: An output is NaN; names block and level.
        """
        if not self._lowered:
            return OutputErrors(0, {})
        full = HeldSource(self._blocks, self._reader.levels[-1], self._reader)
        samples = affordable_samples(
            available, self.count, lambda samples: self._seconds_of(full, samples), budget_seconds
        )
        told = 0
        while samples:
            errors: dict[tuple[int, int], float] = {}
            for key, error in self._in_time(full, samples, budget_seconds):
                errors[key] = error
                if len(errors) > told:
                    told += 1
                    advance()
            if len(errors) == self.count:
                return OutputErrors(samples, errors)
            samples //= 2
        return OutputErrors(0, {})

    def _in_time(
        self, full: HeldSource, samples: int, budget_seconds: float
    ) -> Iterator[tuple[tuple[int, int], float]]:
        """One error after the other; ends early when they fall behind: the machine may have become slower."""
        start_seconds = self._now_seconds()
        where = f"at {self._reader.levels[-1]} bits"
        reference = self._runs.answers(full, Batch(0, samples), where=where)
        for done, (index, level) in enumerate(self._lowered):
            if self._now_seconds() - start_seconds > budget_seconds * (done / self.count + _DELAY):
                return
            difference = compare(self._answers(full, index, level, samples), reference)
            yield (index, level), float(difference.relative().mean())

    def _answers(self, full: HeldSource, index: int, level: int, samples: int) -> Answers:
        with full.replaced(self._reader.at(self._blocks[index], level)):
            return self._runs.answers(full, Batch(0, samples), where=f"with block {index} at {level} bits")

    def _seconds_of(self, full: HeldSource, samples: int) -> float:
        start_seconds = self._now_seconds()
        self._answers(full, *self._lowered[0], samples)
        return self._now_seconds() - start_seconds


def _lowered(blocks: Sequence[Block], reader: BlockReader) -> Iterator[tuple[int, int]]:
    for index, block in enumerate(blocks):
        if block.tensors:
            yield from ((index, level) for level in block.levels(reader.levels)[:-1])
