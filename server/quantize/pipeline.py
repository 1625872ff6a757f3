"""From a model's graph and float weights to everything that a version is: one block in memory at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

from common.digest import sha256_hex
from common.fidelity import FidelityReport, SampleKind
from common.fidelity_codec import encode as encode_fidelity
from common.graph import codec
from common.graph.model import Graph
from common.manifest import MAX_GAIN, BlobRef, Block
from common.self_test import encode
from server.quantize.calibration import Calibrated, calibrate
from server.quantize.coding import Coding, Entry, bases_bytes
from server.quantize.column_means import column_means
from server.quantize.fidelity import check_min_fidelity, measure_fidelity
from server.quantize.fidelity.sources import FloatSource
from server.quantize.formats import with_formats
from server.quantize.held_version import HeldVersion
from server.quantize.lifting import Lift, lifts_within
from server.quantize.order import Order, check_calibration_given
from server.quantize.plan import State, plan
from server.quantize.proof import prove
from server.quantize.quantized import Quantized
from server.quantize.ranges import observe
from server.quantize.rounding import rounding
from server.quantize.sample_checks import check_samples
from server.quantize.samples import Samples
from server.quantize.sizes import SizeMeter
from server.quantize.spool import open_spool
from server.quantize.states import states_in_order
from server.quantize.weights import WeightsFile
from server.quantize.workers import Workers

Sink: TypeAlias = Callable[[BlobRef, bytes], None]
# "calibrate", "quantize", "fidelity", "self-test" or "ranges"; what is done of it, and the whole of it. Last,
# where there is a version before, "scales": how many rows kept theirs, of how many.
Report: TypeAlias = Callable[[str, int, int], None]

FIDELITY_SECONDS: Final = 10.0
_MILLIONTHS: Final = 1_000_000


def quantize(
    graph: Graph,
    weights: Path,
    samples: Samples,
    order: Order,
    *,
    calibration: Samples | None = None,
    evaluation: Samples | None = None,
    sink: Sink,
    report: Report,
    workers: Workers | None = None,
    held: HeldVersion | None = None,
    fidelity_seconds: float = FIDELITY_SECONDS,
) -> Quantized:
    """Every blob of the version is in the sink: blocks, graph, self-test, report. Blocks the thread.

    Args:
        graph: The computation.
        weights: A safetensors file with every state that the graph names. A temporary file of about the size
            of all blobs is made beside it, and is gone afterwards.
        samples: Inputs, in the graph's order, to derive the self-test from.
        order: How to quantize.
        calibration: Unlabelled inputs to round weights by and to measure fidelity on.
        evaluation: Labelled inputs for the fidelity report.
        sink: Takes each blob; one that two blocks share comes twice.
        report: Told of progress; what it raises ends the work.
        workers: Who quantizes the blocks, with the same bytes whoever it is; None: this process' cores.
        held: The version before: its scales and ranges are kept wherever that costs no fidelity, so that an
            update is small. None: all are made anew.
        fidelity_seconds: About what measuring the sensitivity of blocks may take; 0: no fidelity report.

    Raises:
        InvalidInputError: Graph, weights, samples and order do not fit each other, a weight is not finite, or
            the version is less faithful than the order asks for.
        UnsupportedModelError: An operator cannot run.
        CapacityError: The disk is full.
        LinkError: The workers are out of reach.
    """
    check_calibration_given(order.rounding, given=calibration is not None)
    check_samples(graph, samples, calibration=calibration, evaluation=evaluation)
    with open_spool(weights.parent) as spool:
        file = WeightsFile(weights)
        states = with_formats(
            graph, states_in_order(graph, file), order, FloatSource(file), calibrated=calibration is not None
        )
        decided = _calibrated(graph, file, states, calibration, held=held, report=report)
        means = column_means(graph, FloatSource(file), {state.name for state in states if state.form})
        coding = Coding(file, decided, order.levels, spool, workers, report, held, means)
        measuring = _Measuring(graph, file, states, order, coding, samples, calibration, evaluation)
        entries = []
        liftable = order.budget_bytes > 0
        for entry in coding.code(plan(states, order.levels, order.max_blob_bytes, liftable=liftable)):
            entries.append(entry)
            if not liftable:
                _send(entry, coding, sink)
        if liftable:
            entries = coding.lifted(entries, measuring.lifts(entries), order.budget_bytes)
            for entry in entries:
                _send(entry, coding, sink)
        meter = SizeMeter(order.levels)
        for entry in entries:
            meter.add(entry.block, entry.dedicated_bytes)
        blocks = tuple(entry.block for entry in entries)
        found = measuring.report(blocks, fidelity_seconds) if fidelity_seconds or order.min_fidelity else None
        if found:
            check_min_fidelity(found, order.min_fidelity)
            blocks = _with_gains(blocks, found)
        self_test = prove(
            graph, blocks, samples, order, wire_bytes=meter.wire_bytes, read=spool.read, report=report
        )
        ranges = observe(
            graph, FloatSource(file), calibration or samples, report, held=held.ranges() if held else {}
        )
        if held:
            kept, rows = (
                sum(entry.kept_rows for entry in entries),
                sum(part.rows for block in blocks for part in block.tensors),
            )
            report("scales", kept, rows)
    metadata = (
        _graph_blob(replace(graph, ranges=ranges)),
        encode(self_test),
        *([encode_fidelity(found)] if found else []),
    )
    for data, ref in metadata:
        sink(ref, data)
    refs = [ref for _, ref in metadata]
    return Quantized(
        order.levels,
        order.rounding if order.rounding == "auto" else rounding(order.rounding, refit=order.refit).label,
        refs[0],
        refs[1],
        blocks,
        meter.report(states, refs[:2]),
        fidelity=refs[2] if found else None,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Measuring:
    """How faithful a version is, on the best samples that there are."""

    graph: Graph
    weights: WeightsFile
    states: Sequence[State]
    order: Order
    coding: Coding
    samples: Samples
    calibration: Samples | None
    evaluation: Samples | None

    def report(self, blocks: Sequence[Block], seconds: float) -> FidelityReport:
        """The whole report."""
        samples, kind = self._samples()
        return measure_fidelity(
            self.graph,
            self.weights,
            samples,
            blocks=blocks,
            levels=self.order.levels,
            read=self.coding.spool.read,
            sample_kind=kind,
            roundings={state.name: state.form.rounding.label for state in self.states if state.form},
            report=self.coding.report,
            budget_seconds=seconds,
        )

    def lifts(self, entries: Sequence[Entry]) -> dict[int, int]:
        """Which blocks the budget lifts, and to which level."""
        blocks = [entry.block for entry in entries]
        # Labelled samples judge what comes out; they must not choose it.
        found = replace(self, evaluation=None).report(blocks, FIDELITY_SECONDS)
        options = {
            item.block: [Lift(shard.level, shard.size_bytes, shard.gain) for shard in item.shards]
            for item in found.blocks
        }
        return lifts_within(self.order.budget_bytes, bases_bytes(entries), options)

    def _samples(self) -> tuple[Samples, SampleKind]:
        """The best that there are, and what they are."""
        if self.evaluation is not None:
            return self.evaluation, "evaluation"
        if self.calibration is not None:
            return self.calibration, "calibration"
        return self.samples, "example"


def _calibrated(
    graph: Graph,
    weights: WeightsFile,
    states: Sequence[State],
    calibration: Samples | None,
    *,
    held: HeldVersion | None,
    report: Report,
) -> Calibrated:
    """What the samples decide; nothing without samples."""
    forms = {state.name: state.form for state in states if state.form}
    if calibration is None or not any(form.rounding.label == "calibrated" for form in forms.values()):
        return Calibrated()
    return calibrate(graph, FloatSource(weights), calibration, forms, report, held=held)


def _send(entry: Entry, coding: Coding, sink: Sink) -> None:
    for ref in entry.block.blobs:
        sink(ref, coding.spool.read(ref.digest))


def _with_gains(blocks: Sequence[Block], report: FidelityReport) -> tuple[Block, ...]:
    """The blocks with what each shard gains, for a policy; none where only weights were compared."""
    if report.sensitivity != "output":
        return tuple(blocks)
    gains = {
        item.block: tuple(min(MAX_GAIN, round(shard.gain * _MILLIONTHS)) for shard in item.shards)
        for item in report.blocks
    }
    return tuple(replace(block, gains=gains.get(index, ())) for index, block in enumerate(blocks))


def _graph_blob(graph: Graph) -> tuple[bytes, BlobRef]:
    data = codec.to_zstd(graph)
    return data, BlobRef(sha256_hex(data), len(data), len(codec.to_json(graph)), "zstd")
