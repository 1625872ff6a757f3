"""Versions as a server makes them, kept in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from safetensors.torch import save_file

from benchmarks.quantize.tasks.task import Task
from common.block_codec import Content, decode_blobs
from common.manifest import Block, Manifest
from server.quantize.held_version import HeldVersion
from server.quantize.level_source import LevelSource
from server.quantize.order import Order
from server.quantize.pipeline import quantize
from server.quantize.samples import Samples

LEVELS: Final = (4, 6, 8)
_SELF_TEST_SAMPLES: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class Version:
    """A version and its blobs.

    Attributes:
        manifest: What it consists of.
        blobs: By digest.
        kept_rows: How many rows kept the scales of the version before, and how many there are; None without
            one.
    """

    manifest: Manifest
    blobs: Mapping[str, bytes]
    kept_rows: tuple[int, int] | None

    def contents(self, block: Block, count: int | None = None) -> list[Content]:
        """What the first blobs of a block hold."""
        return decode_blobs(block, self.manifest.levels, self.blobs.__getitem__, count)

    def source(self, level: int) -> LevelSource:
        """Its weights at a level."""
        return LevelSource(self.manifest.blocks, self.manifest.levels, level, self.blobs.__getitem__)

    def codes(self, level: int) -> dict[str, NDArray[np.int8]]:
        """Codes of each tensor at a level, int8 [rows, row_weights]."""
        source = self.source(level)
        parts: dict[str, list[NDArray[np.int8]]] = {}
        for block in self.manifest.blocks:
            for part in block.tensors:
                parts.setdefault(part.name, []).append(source.codes(block, part))
        return {name: np.concatenate(rows) for name, rows in parts.items()}


def make_version(
    task: Task, before: Version | None, rounding: str = "floor", levels: Sequence[int] = LEVELS
) -> Version:
    """The task's model as a version, with what scales of the version before it may keep."""
    exported, blobs = task.exported, dict[str, bytes]()
    kept: list[tuple[int, int]] = []

    def told(step: str, done: int, total: int) -> None:
        if step == "scales":
            kept.append((done, total))

    with tempfile.TemporaryDirectory(prefix="nestfleet-bench-") as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(exported.states, weights)
        quantized = quantize(
            exported.graph,
            weights,
            Samples(tuple(tensor[:_SELF_TEST_SAMPLES].numpy() for tensor in exported.inputs)),
            Order(tuple(levels), rounding),
            calibration=Samples(tuple(tensor.numpy() for tensor in task.calibration)),
            sink=lambda ref, data: blobs.__setitem__(ref.digest, data),
            report=told,
            held=HeldVersion(before.manifest, before.blobs.__getitem__) if before else None,
            fidelity_seconds=0,
        )
    number = before.manifest.version + 1 if before else 1
    return Version(quantized.manifest(task.name, number), blobs, kept[0] if kept else None)
