"""The fidelity report of a version, measured on the blobs that will be sent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from common.clock import Clock, SystemClock
from common.fidelity import FidelityReport, LevelFidelity, SampleKind
from common.graph.model import Graph
from common.manifest import Block
from server.quantize.fidelity.block_reader import BlockReader
from server.quantize.fidelity.level_tallies import LevelTallies, tally_levels
from server.quantize.fidelity.model_runs import ModelRuns
from server.quantize.fidelity.output_errors import LoweredRuns
from server.quantize.fidelity.sensitivity import block_sensitivities
from server.quantize.fidelity.sources import FloatSource, HeldSource
from server.quantize.fidelity.weight_errors import (
    PartErrors,
    part_errors,
    tensor_fidelities,
    weight_sensitivity,
    weight_sqnr_db,
)
from server.quantize.samples import Samples
from server.quantize.weights import WeightsFile

SENSITIVITY_SECONDS: Final = 20.0
_STEP: Final = "fidelity"


def measure_fidelity(
    graph: Graph,
    weights: WeightsFile,
    samples: Samples,
    *,
    blocks: Sequence[Block],
    levels: Sequence[int],
    read: Callable[[str], bytes],
    sample_kind: SampleKind,
    roundings: Mapping[str, str],
    report: Callable[[str, int, int], None],
    budget_seconds: float = SENSITIVITY_SECONDS,
    clock: Clock | None = None,
) -> FidelityReport:
    """What each level and each shard is worth. Blocks the thread; takes the memory of the model in floats.

    Args:
        graph: The computation.
        weights: The float weights that the blocks were made of.
        samples: Inputs, in the graph's order, and perhaps labels; all are used.
        blocks: All of the version; one may have its base at a higher level than others.
        levels: Of the version.
        read: A blob's bytes by digest.
        sample_kind: What they are.
        roundings: Each quantized tensor's name to the mode that chose its codes.
        report: Told of progress under "fidelity"; what it raises ends the work.
        budget_seconds: About what the runs for the sensitivity of blocks may take. Where they would take
            more, they use fewer samples, and where one sample is too many, weights are compared instead.
        clock: Tells how long a run takes.

    Raises:
        InvalidInputError: An output is NaN; names the level.
        UnsupportedModelError: An operator cannot run.
        CapacityError: An operator finds no memory.
    """
    reader = BlockReader(levels, read)
    runs, floats = ModelRuns(graph, samples), FloatSource(weights)
    rows = runs.batch_rows(floats)
    lowered = LoweredRuns(runs, blocks, reader, (clock or SystemClock()).monotonic_seconds)
    batches = sum(1 for _ in runs.batches(rows)) * (1 + len(levels))
    progress = _Progress(report, len(blocks) + batches + lowered.count)
    errors = []
    for block in blocks:
        errors.append(part_errors(block, weights, reader))
        progress.advance()
    tallies = tally_levels(
        runs,
        floats,
        at_level=lambda level: HeldSource(blocks, level, reader),
        levels=levels,
        rows=rows,
        advance=progress.advance,
    )
    found = lowered.errors(rows, budget_seconds, progress.advance)
    progress.finish()
    in_outputs = len(found.errors) == lowered.count
    return FidelityReport(
        samples=samples.count,
        sample_kind=sample_kind,
        fp32_top1=tallies.floats.top1,
        levels=_levels(reader, blocks, errors, tallies),
        sensitivity="output" if in_outputs else "weights",
        sensitivity_samples=found.samples,
        blocks=block_sensitivities(
            blocks, levels, found.errors if in_outputs else weight_sensitivity(errors)
        ),
        tensors=tensor_fidelities([part for parts in errors for part in parts], roundings),
    )


def bytes_needed(blocks: Sequence[Block], levels: Sequence[int], level: int) -> int:
    """Wire bytes of every blob that a level takes; one that several blocks have counts once."""
    refs = {
        ref.digest: ref.size_bytes
        for block in blocks
        for at, ref in zip(block.levels(levels), block.blobs, strict=True)
        if at <= level or ref is block.blobs[0]
    }
    return sum(refs.values())


def _levels(
    reader: BlockReader,
    blocks: Sequence[Block],
    errors: Sequence[Sequence[PartErrors]],
    tallies: LevelTallies,
) -> tuple[LevelFidelity, ...]:
    parts = [part for of_block in errors for part in of_block]
    return tuple(
        tally.fidelity(level, bytes_needed(blocks, reader.levels, level), weight_sqnr_db(parts, level))
        for level, tally in tallies.levels.items()
    )


class _Progress:
    """Counts steps and tells them."""

    def __init__(self, report: Callable[[str, int, int], None], total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0
        report(_STEP, 0, total)

    def advance(self) -> None:
        self._done += 1
        self._report(_STEP, self._done, self._total)

    def finish(self) -> None:
        """Also where less was to be done than it seemed."""
        if self._done < self._total:
            self._report(_STEP, self._total, self._total)
