"""Blocks of a version on their way from plan to spool, on all workers; some again with a higher base."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from common.manifest import Block
from server.quantize.block_task import BlockDone, BlockWork, check_whole, code_block
from server.quantize.calibration import Calibrated
from server.quantize.format import Format
from server.quantize.held_version import HeldVersion
from server.quantize.plan import BlockPlan
from server.quantize.rounding.floor import Floor
from server.quantize.spool import Spool
from server.quantize.states import load_block
from server.quantize.weights import WeightsFile
from server.quantize.workers import LocalWorkers, Workers

Report = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Entry:
    """A block whose blobs are in the spool.

    Attributes:
        plan: What it holds.
        block: Its entry in the manifest.
        dedicated_bytes: As in ``BlockDone``.
        kept_rows: As in ``CodedBlock``.
    """

    plan: BlockPlan
    block: Block
    dedicated_bytes: Mapping[int, int]
    kept_rows: int


@dataclass(frozen=True, slots=True, eq=False)
class Coding:
    """Codes blocks.

    Attributes:
        weights: The floats.
        calibrated: What samples decided.
        levels: The version's.
        spool: Gets the blobs.
        workers: Do the work; None: this process' cores.
        report: Told of progress under "quantize".
        held: The version before, if its scales may be kept.
        means: What tensors' columns are multiplied with on average, where that is known.
    """

    weights: WeightsFile
    calibrated: Calibrated
    levels: tuple[int, ...]
    spool: Spool
    workers: Workers | None
    report: Report
    held: HeldVersion | None = None
    means: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    def code(self, plans: Sequence[BlockPlan]) -> Iterator[Entry]:
        """The blocks in order; each one's blobs are in the spool when it comes.

        Raises:
            InvalidInputError: A weight is not finite.
            CapacityError: The disk is full.
            LinkError: The workers are out of reach.
        """
        self.report("quantize", 0, len(plans))
        with (
            _crew(self.workers) as crew,
            contextlib.closing(crew.map(code_block, self._work(plans), check=check_whole)) as results,
        ):
            for index, (block, done) in enumerate(zip(plans, results, strict=True)):
                yield self._kept(block, done)
                self.report("quantize", index + 1, len(plans))

    def lifted(self, entries: Sequence[Entry], bases: Mapping[int, int], budget_bytes: int) -> list[Entry]:
        """The blocks, those in ``bases`` coded again with their base at that level.

        A base need not weigh what base and shards did, and blocks that shared theirs no longer do. What then
        exceeds the budget of all bases keeps its own, the last in ``bases`` first.
        """
        plans = [_from_level(entries[index].plan, level) for index, level in bases.items()]
        again = dict(zip(bases, self.code(plans), strict=True)) if plans else {}
        while again and bases_bytes(_replaced(entries, again)) > budget_bytes:
            again.popitem()
        return _replaced(entries, again)

    def _work(self, plans: Sequence[BlockPlan]) -> Iterator[BlockWork]:
        for block in plans:
            form = block.form or Format(self.levels, Floor())
            values = load_block(
                block, self.weights, self.calibrated, form.levels, self.held, means=self.means
            )
            yield BlockWork(values, form.levels, form.rounding, self.levels)

    def _kept(self, block: BlockPlan, done: BlockDone) -> Entry:
        for ref, data in done.coded.blobs():
            self.spool.put(ref, data)
        return Entry(block, done.coded.block, done.dedicated_bytes, done.coded.kept_rows)


def bases_bytes(entries: Iterable[Entry]) -> int:
    """What all bases take; one that several blocks have is sent once and counts once."""
    refs = (entry.block.blobs[0] for entry in entries)
    return sum({ref.digest: ref.size_bytes for ref in refs}.values())


def _replaced(entries: Sequence[Entry], again: Mapping[int, Entry]) -> list[Entry]:
    return [again.get(index, entry) for index, entry in enumerate(entries)]


def _from_level(block: BlockPlan, level: int) -> BlockPlan:
    assert block.form is not None  # noqa: S101 - only blocks with codes are lifted
    levels = block.form.levels[block.form.levels.index(level) :]
    return replace(block, form=Format(levels, block.form.rounding))


@contextlib.contextmanager
def _crew(workers: Workers | None) -> Iterator[Workers]:
    """The workers that were given, or some for as long as the context lasts."""
    if workers is not None:
        yield workers
        return
    with contextlib.closing(LocalWorkers()) as own:
        yield own
