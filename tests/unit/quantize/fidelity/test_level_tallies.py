"""Batches and what is kept of them bound the memory and change no figure."""

from __future__ import annotations

import pytest

from common.fidelity import LevelFidelity
from server.quantize.fidelity.block_reader import BlockReader
from server.quantize.fidelity.level_tallies import tally_levels
from server.quantize.fidelity.model_runs import MAX_BATCH_ROWS, ModelRuns
from server.quantize.fidelity.sources import FloatSource, HeldSource
from server.quantize.samples import Samples
from tests.support.measuring import measurable, tiny_version

_ROW_BYTES = 40  # ten scores in 32-bit floats


def _figures(rows: int, kept_bytes: int) -> tuple[list[LevelFidelity], list[int], int]:
    """Figures of each level, the levels in the order in which weights were made, and the steps told."""
    made: list[int] = []
    steps: list[None] = []
    with measurable(tiny_version()) as version:
        repeated = Samples((version.samples.inputs[0].repeat(3, axis=0),))
        reader = BlockReader(version.levels, version.blobs.__getitem__)

        def at_level(level: int) -> HeldSource:
            made.append(level)
            return HeldSource(version.blocks, level, reader)

        tallies = tally_levels(
            ModelRuns(version.graph, repeated),
            FloatSource(version.weights),
            at_level=at_level,
            levels=version.levels,
            rows=rows,
            advance=lambda: steps.append(None),
            kept_bytes=kept_bytes,
        )
    return [tally.fidelity(level, 1, None) for level, tally in tallies.levels.items()], made, len(steps)


def test_levels_have_their_turn_as_often_as_what_is_kept_reaches_its_limit() -> None:
    at_once, made, steps = _figures(12, 1 << 20)
    assert (made, steps) == ([4, 6, 8], 4)
    in_parts, made, steps = _figures(5, 10 * _ROW_BYTES)
    assert (made, steps) == ([4, 6, 8] * 2, 12)
    for one, other in zip(at_once, in_parts, strict=True):
        assert one.output_cosine == pytest.approx(other.output_cosine, abs=2e-6)
        assert one.output_sqnr_db == pytest.approx(other.output_sqnr_db, abs=1e-2)
        assert one.argmax_agreement == other.argmax_agreement


@pytest.mark.parametrize(
    ("samples", "limit_bytes", "rows"),
    [(100, 1 << 20, MAX_BATCH_ROWS), (100, 5 * _ROW_BYTES, 5), (100, 1, 1), (3, 1 << 20, 3)],
)
def test_batches_are_as_large_as_rows_bytes_and_samples_allow(
    samples: int, limit_bytes: int, rows: int
) -> None:
    with measurable(tiny_version()) as version:
        inputs = version.samples.inputs[0].repeat(25, axis=0)[:samples]
        runs = ModelRuns(version.graph, Samples((inputs,)))
        assert runs.batch_rows(FloatSource(version.weights), limit_bytes) == rows
        batches = list(runs.batches(rows))
        assert [batch.start for batch in batches] == list(range(0, samples, rows))
        assert batches[-1].stop == samples
