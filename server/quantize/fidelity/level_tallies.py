"""The model at every level beside the float model, over all samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from common.graph.build import StateSource
from server.quantize.fidelity.answers import Answers
from server.quantize.fidelity.model_runs import Batch, ModelRuns
from server.quantize.fidelity.tally import Tally

# The float model's answers that are kept while the levels have their turn.
MAX_KEPT_BYTES: Final = 256 * 1024 * 1024

_Kept: TypeAlias = "list[tuple[Batch, Answers]]"


@dataclass(frozen=True, slots=True)
class LevelTallies:
    """The sums: of the float model beside itself, and of each level."""

    floats: Tally
    levels: dict[int, Tally]


def tally_levels(
    runs: ModelRuns,
    floats: StateSource,
    *,
    at_level: Callable[[int], StateSource],
    levels: Sequence[int],
    rows: int,
    advance: Callable[[], None],
    kept_bytes: int = MAX_KEPT_BYTES,
) -> LevelTallies:
    """Every sample at every level.

    Args:
        runs: The model.
        floats: Its float weights.
        at_level: Makes the weights of a level; dropped before the next are made.
        levels: Of the version.
        rows: Samples at once.
        advance: Called after each batch of the float model and of each level.
        kept_bytes: How much of the float model's answers to keep before the levels have their turn.

    Raises:
        InvalidInputError: An output is NaN; names the level.
    """
    found = LevelTallies(Tally(), {level: Tally() for level in levels})
    for kept in _references(runs, floats, rows, kept_bytes):
        for batch, reference in kept:
            found.floats.add(reference, reference, runs.labels(batch))
            advance()
        for level in levels:
            source = at_level(level)
            for batch, reference in kept:
                answers = runs.answers(source, batch, where=f"at {level} bits")
                found.levels[level].add(answers, reference, runs.labels(batch))
                advance()
            del source
    return found


def _references(runs: ModelRuns, floats: StateSource, rows: int, limit_bytes: int) -> Iterator[_Kept]:
    """The float model's answers, as many batches at a time as may be kept; at least one."""
    kept: _Kept = []
    kept_bytes = 0
    for batch in runs.batches(rows):
        kept.append((batch, runs.answers(floats, batch, where="in floats")))
        kept_bytes += kept[-1][1].values.nbytes
        if kept_bytes >= limit_bytes:
            yield kept
            kept, kept_bytes = [], 0
    if kept:
        yield kept
