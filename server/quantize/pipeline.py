"""From a model's graph and float weights to everything that a version is: one block in memory at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import torch
from numpy.typing import NDArray

from common.digest import sha256_hex
from common.graph import codec
from common.graph.build import build
from common.graph.inputs import check_inputs
from common.graph.model import Graph
from common.graph.outputs import check_outputs
from common.manifest import BlobRef, Block, Manifest
from common.nesting import check_levels
from common.self_test import encode
from common.sizes import SizeReport
from server.quantize.block_coder import CodedBlock
from server.quantize.block_task import BlockWork, check_whole, code_block
from server.quantize.expectations import Answer, Inputs, make_self_test
from server.quantize.level_source import LevelSource
from server.quantize.order import Order
from server.quantize.plan import State, plan
from server.quantize.rounding import rounding
from server.quantize.samples import Samples
from server.quantize.sizes import SizeMeter
from server.quantize.spool import Spool, open_spool
from server.quantize.states import load_block, states_in_order
from server.quantize.weights import WeightsFile
from server.quantize.workers import LocalWorkers, Workers

Sink: TypeAlias = Callable[[BlobRef, bytes], None]
# Step ("quantize" or "self-test"), what is done of it, and the whole of it.
Report: TypeAlias = Callable[[str, int, int], None]

_SELF_TEST_SHARE: Final = 200  # one part in so many of the version's bytes, so that metadata stays below 1 %
_SELF_TEST_MIN_BYTES: Final = 16 * 1024
_SELF_TEST_MAX_BYTES: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Quantized:
    """A version, but for its name and number.

    Attributes:
        levels, rounding, graph, self_test, blocks: As in the manifest.
        sizes: ``metadata_bytes`` lacks the manifest, which does not exist yet.
    """

    levels: tuple[int, ...]
    rounding: str
    graph: BlobRef
    self_test: BlobRef
    blocks: tuple[Block, ...]
    sizes: SizeReport

    def manifest(self, model: str, version: int) -> Manifest:
        """The manifest under a name and number."""
        return Manifest(model, version, self.levels, self.rounding, self.graph, self.self_test, self.blocks)


def quantize(
    graph: Graph,
    weights: Path,
    samples: Samples,
    order: Order,
    *,
    sink: Sink,
    report: Report,
    workers: Workers | None = None,
) -> Quantized:
    """Every blob of the version is in the sink: blocks, graph, self-test. Blocks the thread.

    Args:
        graph: The computation.
        weights: A safetensors file with every state that the graph names. A temporary file of about the size
            of all blobs is made beside it, and is gone afterwards.
        samples: Inputs, in the graph's order, to derive the self-test from.
        order: How to quantize.
        sink: Takes each blob; one that two blocks share comes twice.
        report: Told of progress; what it raises ends the work.
        workers: Who quantizes the blocks, with the same bytes whoever it is; None: this process' cores.

    Raises:
        InvalidInputError: Graph, weights, samples and order do not fit each other, or a weight is not finite.
        UnsupportedModelError: An operator cannot run.
        CapacityError: The disk is full.
        LinkError: The workers are out of reach.
    """
    check_levels(order.levels)
    check_inputs(graph, dict(zip((item.name for item in graph.inputs), samples.inputs, strict=False)))
    with open_spool(weights.parent) as spool:
        file = WeightsFile(weights)
        states = states_in_order(graph, file)
        meter = SizeMeter(order.levels)
        blocks = []
        with (
            _crew(workers) as crew,
            contextlib.closing(
                _coded_blocks(states, file, order, crew, meter=meter, report=report)
            ) as all_coded,
        ):
            for coded in all_coded:
                blocks.append(coded.block)
                _store(coded, spool, sink)
        self_test = make_self_test(
            samples,
            order.levels,
            _answer(graph, blocks, order.levels, spool, report),
            min_agreement=order.min_agreement,
            target_bytes=_self_test_bytes(meter.wire_bytes),
        )
    metadata = (_graph_blob(graph), encode(self_test))
    for data, ref in metadata:
        sink(ref, data)
    graph_ref, self_test_ref = (ref for _, ref in metadata)
    sizes = meter.report(states, (graph_ref, self_test_ref))
    return Quantized(
        order.levels,
        rounding(order.rounding, refit=order.refit).label,
        graph_ref,
        self_test_ref,
        tuple(blocks),
        sizes,
    )


@contextlib.contextmanager
def _crew(workers: Workers | None) -> Iterator[Workers]:
    """The workers that were given, or some for as long as the context lasts."""
    if workers is not None:
        yield workers
        return
    with contextlib.closing(LocalWorkers()) as own:
        yield own


def _coded_blocks(
    states: Sequence[State],
    weights: WeightsFile,
    order: Order,
    workers: Workers,
    *,
    meter: SizeMeter,
    report: Report,
) -> Generator[CodedBlock, None, None]:
    mode = rounding(order.rounding, refit=order.refit)
    plans = plan(states, order.levels, order.max_blob_bytes, mode.shard_bits(order.levels))
    work = (BlockWork(load_block(block, weights), order.levels, mode) for block in plans)
    report("quantize", 0, len(plans))
    with contextlib.closing(workers.map(code_block, work, check=check_whole)) as results:
        for index, done in enumerate(results):
            meter.add(done.coded, done.dedicated_bytes)
            yield done.coded
            report("quantize", index + 1, len(plans))


def _store(coded: CodedBlock, spool: Spool, sink: Sink) -> None:
    for ref, data in coded.blobs():
        spool.put(ref, data)
        sink(ref, data)


def _answer(
    graph: Graph, blocks: Sequence[Block], levels: Sequence[int], spool: Spool, report: Report
) -> Answer:
    """Runs the model on the blobs that will be sent."""
    runner = build(graph)

    def answer(level: int, inputs: Inputs) -> tuple[NDArray[Any], ...]:
        report("self-test", levels.index(level), len(levels))
        source = LevelSource(blocks, levels, level, spool.read)
        outputs = runner(source, *(torch.from_numpy(array) for array in inputs))
        check_outputs(graph, [(str(output.dtype).removeprefix("torch."), output.shape) for output in outputs])
        report("self-test", levels.index(level) + 1, len(levels))
        return tuple(
            (output.float() if output.dtype == torch.bfloat16 else output).numpy() for output in outputs
        )

    return answer


def _graph_blob(graph: Graph) -> tuple[bytes, BlobRef]:
    data = codec.to_zstd(graph)
    return data, BlobRef(sha256_hex(data), len(data), len(codec.to_json(graph)), "zstd")


def _self_test_bytes(wire_bytes: int) -> int:
    return min(max(wire_bytes // _SELF_TEST_SHARE, _SELF_TEST_MIN_BYTES), _SELF_TEST_MAX_BYTES)
