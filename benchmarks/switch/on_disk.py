"""Versions on a device's disk: one for all levels, and one for each level alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.quantize.tasks.task import Task
from benchmarks.wire.version import make_version
from common.manifest import Manifest
from device_agent.inference.served import ServedModel
from device_agent.store.blobs import BlobFolder


@dataclass(slots=True, eq=False)
class OnDisk:
    """A version in a store, and how much was read of it.

    Attributes:
        manifest: The version.
        blobs: Its blobs.
        read_bytes: How much was read since somebody set it to 0.
    """

    manifest: Manifest
    blobs: BlobFolder
    read_bytes: int = 0

    @classmethod
    def made(cls, task: Task, levels: tuple[int, ...], folder: Path) -> OnDisk:
        """The task's model through the product's pipeline, as a device has it when all has come."""
        version = make_version(task, levels, "floor")
        blobs = BlobFolder(folder)
        refs = {ref.digest: ref for ref in version.manifest.device_refs()}
        for digest, ref in refs.items():
            blobs.put_whole(ref, version.blobs[digest])
        return cls(version.manifest, blobs)

    def read(self, digest: str) -> memoryview:
        """As the agent reads, counted."""
        data = self.blobs.read(digest)
        self.read_bytes += len(data)
        return data

    def load(self, level: int) -> ServedModel:
        """In memory, all blocks at a level."""
        return ServedModel.load(self.manifest, self.read, self.manifest.nearest(level))

    @property
    def weights(self) -> int:
        """Quantized weights."""
        return sum(block.weights for block in self.manifest.blocks)

    @property
    def packed_bytes(self) -> int:
        """What its blocks take without entropy coding."""
        return sum(ref.raw_size_bytes for block in self.manifest.blocks for ref in block.blobs)

    def shard_bytes(self, low: int, high: int) -> int:
        """Wire bytes of all shards between two levels."""
        return sum(
            ref.size_bytes
            for block in self.manifest.blocks
            for ref, level in zip(block.blobs, block.levels(self.manifest.levels), strict=True)
            if low < level <= high
        )


def one_request(task: Task, served: ServedModel) -> dict[str, NDArray[Any]]:
    """One sample, by the names that requests use."""
    names: Sequence[str] = [spec.name for spec in served.inputs]
    inputs = (tensor[:1].numpy() for tensor in task.exported.inputs)
    return {name: np.ascontiguousarray(array) for name, array in zip(names, inputs, strict=True)}
