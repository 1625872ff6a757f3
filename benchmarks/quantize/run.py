"""Measures models in modes at levels."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.quantize.dedicated.maker import DedicatedMaker
from benchmarks.quantize.dedicated.methods import CALIBRATED, METHODS
from benchmarks.quantize.made import Made
from benchmarks.quantize.metrics import mean_entropy_bits
from benchmarks.quantize.product import MODES_OF_PRODUCT, ProductMaker
from benchmarks.quantize.row import Row
from benchmarks.quantize.tasks.registry import TASKS
from benchmarks.quantize.tasks.task import Task

MODES: Final = (*MODES_OF_PRODUCT, *METHODS)
LEVELS: Final = (6, 5, 4, 3)
_SLOW: Final = CALIBRATED | {"calibrated"}
_LEVEL_FOR_SPEED: Final = 4


@dataclass(frozen=True, slots=True)
class Measured:
    """A row, and whether the full level held what it must.

    Attributes:
        row: For the report.
        full_bit_exact: As in ``Made``.
    """

    row: Row
    full_bit_exact: bool | None


def measure(
    models: Sequence[str], modes: Sequence[str], levels: Sequence[int], say: Callable[[str], None]
) -> Iterator[Measured]:
    """One row after the other, model by model; modes that the product does not have are left out.

    A model that is measured for speed and memory alone is calibrated at one level, since the level changes
    neither.
    """
    modes = tuple(_available(modes, say))
    for model in models:
        say(f"{model}: loading")
        task = TASKS[model]()
        with tempfile.TemporaryDirectory(prefix="nestfleet-bench-") as folder:
            makers = _Makers(task, Path(folder))
            for mode in modes:
                for level in _levels(task, mode, levels):
                    say(f"{model}: {mode} at {level} bits")
                    with makers.make(mode, level) as made:
                        yield Measured(_row(task, mode, level, made), made.full_bit_exact)


class _Makers:
    def __init__(self, task: Task, folder: Path) -> None:
        self._product = ProductMaker(task, folder)
        self._dedicated = DedicatedMaker(task)

    @contextlib.contextmanager
    def make(self, mode: str, level: int) -> Iterator[Made]:
        if mode in METHODS:
            yield self._dedicated.make(mode, level)
        else:
            with self._product.make(mode, level) as made:
                yield made


def _available(modes: Sequence[str], say: Callable[[str], None]) -> Iterator[str]:
    for mode in modes:
        missing = MODES_OF_PRODUCT[mode].missing if mode in MODES_OF_PRODUCT else None
        if missing:
            say(f"{mode} is left out: {missing}")
        else:
            yield mode


def _levels(task: Task, mode: str, levels: Sequence[int]) -> Sequence[int]:
    if task.batches or mode not in _SLOW:
        return levels
    return [_LEVEL_FOR_SPEED if _LEVEL_FOR_SPEED in levels else levels[0]]


def _row(task: Task, mode: str, level: int, made: Made) -> Row:
    scores = task.scores(made.source)
    return Row(
        model=task.name,
        mode=mode,
        level=level,
        cosine=scores.cosine,
        overlap_at_10=scores.overlap_at_10,
        top1=scores.top1,
        bits_per_weight=8 * made.wire_bytes / task.weights,
        entropy_bits_per_weight=mean_entropy_bits(made.codes),
        seconds=made.seconds,
        mparams_per_second=task.weights / made.seconds / 1e6,
        peak_rss_bytes=made.peak_bytes,
    )
