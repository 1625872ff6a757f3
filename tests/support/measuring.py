"""Real small versions and the float weights that they were made of, to measure fidelity on."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch

from common.fidelity import FidelityReport
from common.graph.model import Graph
from common.manifest import Block
from server.quantize.block_coder import encode_block
from server.quantize.calibration import Calibrated
from server.quantize.fidelity import measure_fidelity
from server.quantize.plan import BlockPlan
from server.quantize.rounding import rounding
from server.quantize.samples import Samples
from server.quantize.states import load_block
from server.quantize.weights import WeightsFile
from tests.support.models import tiny_net
from tests.support.versions import Version, make_version


class SteppingClock:
    """Monotonic time that goes on by the next of some steps whenever somebody looks; the last one repeats."""

    def __init__(self, *steps_seconds: float) -> None:
        self._steps_seconds = list(steps_seconds)
        self._seconds = 0.0

    def unix_ms(self) -> int:
        return 0

    def monotonic_seconds(self) -> float:
        several = len(self._steps_seconds) > 1
        self._seconds += self._steps_seconds.pop(0) if several else self._steps_seconds[0]
        return self._seconds


@dataclass
class Measurable:
    """A version before it has its manifest."""

    graph: Graph
    weights: WeightsFile
    samples: Samples
    levels: tuple[int, ...]
    blocks: list[Block]
    blobs: dict[str, bytes]
    reports: list[tuple[str, int, int]] = field(default_factory=list)

    def raise_base(self, index: int, base_level: int) -> None:
        """Quantize a block anew, at the levels from ``base_level`` up alone."""
        block = self.blocks[index]
        own = self.levels[self.levels.index(base_level) :]
        values = load_block(BlockPlan(block.tensors, block.floats, ()), self.weights, Calibrated(), own)
        coded = encode_block(values, own, rounding("floor"))
        self.blobs |= {ref.digest: data for ref, data in coded.blobs()}
        self.blocks[index] = coded.block

    def shift_float(self, index: int, name: str, *shifts: float) -> None:
        """Let a float of a block follow its levels: each has its value and one of the shifts."""
        block = self.blocks[index]
        floats = tuple(other for other in block.floats if other != name)
        own = block.levels(self.levels)
        values = load_block(BlockPlan(block.tensors, floats, ()), self.weights, Calibrated(), own)
        followed = {name: tuple(self.weights.whole(name).numpy() + np.float32(shift) for shift in shifts)}
        coded = encode_block(replace(values, level_floats=followed), own, rounding("floor"))
        self.blobs |= {ref.digest: data for ref, data in coded.blobs()}
        self.blocks[index] = coded.block

    def measure(self, **changes: Any) -> FidelityReport:
        names = {part.name for block in self.blocks for part in block.tensors}
        options: dict[str, Any] = {
            "sample_kind": "example",
            "roundings": dict.fromkeys(names, "floor"),
            "report": lambda *step: self.reports.append(step),
            "clock": SteppingClock(0.0),
        }
        return measure_fidelity(
            self.graph,
            self.weights,
            self.samples,
            blocks=self.blocks,
            levels=self.levels,
            read=self.blobs.__getitem__,
            **(options | changes),
        )


@contextlib.contextmanager
def measurable(version: Version, samples: Samples | None = None) -> Iterator[Measurable]:
    """A version, open for as long as the context lasts; without samples on its example inputs."""
    exported = version.exported
    inputs = tuple(tensor.numpy() for tensor in exported.inputs)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        safetensors.torch.save_file(exported.states, path)
        yield Measurable(
            exported.graph,
            WeightsFile(path),
            samples or Samples(inputs),
            version.manifest.levels,
            list(version.manifest.blocks),
            dict(version.blobs),
        )


@functools.cache
def tiny_version() -> Version:
    """Of a tiny net at 4, 6 and 8 bits, in several blocks; not to be changed."""
    return make_version(*tiny_net())
