"""The product's own modes, through its pipeline into a blob store on disk."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file

from benchmarks.quantize.dedicated.methods import Method, Tensor, round_to_nearest, with_flips
from benchmarks.quantize.made import Made
from benchmarks.quantize.memory import watch_peak
from benchmarks.quantize.tasks.task import Task
from server.quantize.level_source import LevelSource
from server.quantize.order import Order
from server.quantize.pipeline import quantize
from server.quantize.quantized import Quantized
from server.quantize.rounding.modes import MODES
from server.quantize.samples import Samples
from server.storage.folder import FolderBlobStore

FULL_LEVEL: Final = 8
_SELF_TEST_SAMPLES: Final = 2


@dataclasses.dataclass(frozen=True, slots=True)
class Mode:
    """A mode of the product as the report knows it.

    Attributes:
        rounding: The product's name of it.
        refit: Whether refitted scales are asked for where the mode has a choice.
        plain: What its codes at the full level must be.
    """

    rounding: str
    refit: bool = False
    plain: Method = round_to_nearest

    @property
    def missing(self) -> str | None:
        """What the product lacks for it; None where it has all."""
        if self.rounding not in MODES:
            return f"server.quantize has no rounding {self.rounding!r}"
        return None


MODES_OF_PRODUCT: Final[Mapping[str, Mode]] = {
    "floor": Mode("floor"),
    "adaptive": Mode("adaptive", plain=with_flips),
    "adaptive_refit": Mode("adaptive", refit=True, plain=with_flips),
    "calibrated": Mode("calibrated"),
}


class ProductMaker:
    """Makes one model's nested forms.

    Args:
        task: The model.
        folder: Holds its weights file; blobs are written beside it and are gone once another is made.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        self._task = task
        self._folder = folder
        self._weights = folder / "weights.safetensors"
        self._plain: dict[Method, dict[str, NDArray[np.int8]]] = {}
        save_file(task.exported.states, self._weights)

    @contextlib.contextmanager
    def make(self, mode: str, level: int) -> Iterator[Made]:
        """The model nested as (level, 8), in a store that lasts as long as the context.

        Clock and memory are read when the last block is stored; what the pipeline does then (the self-test)
        runs the model, and is no part of quantizing. Fidelity is measured here, not by the pipeline.
        """
        chosen, levels = MODES_OF_PRODUCT[mode], (level, FULL_LEVEL)
        with tempfile.TemporaryDirectory(dir=self._folder) as folder:
            store = FolderBlobStore(Path(folder))
            meter = _Meter()
            quantized = self._quantize(chosen, levels, store, meter)
            sources = [LevelSource(quantized.blocks, levels, each, store.read) for each in levels]
            yield Made(
                source=sources[0],
                codes=codes_of(quantized, sources[0]),
                wire_bytes=quantized.sizes.base_bytes,
                seconds=meter.seconds,
                peak_bytes=meter.peak_bytes,
                full_bit_exact=self._is_plain(codes_of(quantized, sources[1]), chosen.plain),
            )

    def _quantize(
        self, mode: Mode, levels: tuple[int, ...], store: FolderBlobStore, meter: _Meter
    ) -> Quantized:
        exported = self._task.exported
        samples = Samples(tuple(tensor[:_SELF_TEST_SAMPLES].numpy() for tensor in exported.inputs))
        calibration = Samples(tuple(tensor.numpy() for tensor in self._task.calibration))
        order = Order(levels, mode.rounding, refit=mode.refit)
        return quantize(
            exported.graph,
            self._weights,
            samples,
            order,
            sink=lambda ref, data: _keep(store, ref.digest, data),
            report=meter.told,
            fidelity_seconds=0,
            calibration=calibration if mode.rounding == "calibrated" else None,
        )

    def _is_plain(self, codes: Mapping[str, NDArray[np.int8]], plain: Method) -> bool:
        states = self._task.exported.states
        if plain not in self._plain:
            self._plain[plain] = {
                name: plain(Tensor(name, states[name]), FULL_LEVEL).codes for name in self._task.quantized
            }
        wanted = self._plain[plain]
        return codes.keys() == wanted.keys() and all(
            np.array_equal(codes[name], wanted[name]) for name in wanted
        )


class _Meter:
    """Reads time and memory whenever a block is done."""

    def __init__(self) -> None:
        self._peak = watch_peak()
        self._start = time.perf_counter()
        self.seconds = 0.0
        self.peak_bytes = 0

    def told(self, step: str, _done: int, _total: int) -> None:
        if step in {"calibrate", "quantize"}:
            self.seconds = time.perf_counter() - self._start
            self.peak_bytes = self._peak.growth_bytes()


def codes_of(quantized: Quantized, source: LevelSource) -> dict[str, NDArray[np.int8]]:
    """Codes of each tensor at the source's level, int8 [rows, row_weights]."""
    parts: dict[str, list[NDArray[np.int8]]] = {}
    for block in quantized.blocks:
        for part in block.tensors:
            parts.setdefault(part.name, []).append(source.codes(block, part))
    return {name: np.concatenate(rows) for name, rows in parts.items()}


def _keep(store: FolderBlobStore, digest: str, data: bytes) -> None:
    store.put(digest, data)
