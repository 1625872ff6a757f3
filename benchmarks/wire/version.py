"""A version as the product makes it, with all of its blobs at hand."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from safetensors.torch import save_file

from benchmarks.quantize.tasks.task import Task
from common.block_codec import Content, decode_blobs
from common.manifest import Manifest, to_json
from server.delivery.fetch import manifest_frame
from server.quantize.order import Order
from server.quantize.pipeline import quantize
from server.quantize.samples import Samples

_SELF_TEST_SAMPLES: Final = 2


@dataclass(frozen=True, slots=True, eq=False)
class MadeVersion:
    """A version.

    Attributes:
        manifest: What it is.
        blobs: Digest to wire bytes.
    """

    manifest: Manifest
    blobs: dict[str, bytes]

    def contents(self, index: int) -> list[Content]:
        """What each blob of a block says, the base first."""
        return decode_blobs(self.manifest.blocks[index], self.manifest.levels, self.blobs.__getitem__)

    @property
    def manifest_bytes(self) -> int:
        """Size of the manifest as it is sent."""
        return len(manifest_frame(to_json(self.manifest)))

    @property
    def metadata_bytes(self) -> int:
        """Manifest, graph and self-test."""
        return self.manifest_bytes + self.manifest.graph.size_bytes + self.manifest.self_test.size_bytes


def make_version(task: Task, levels: tuple[int, ...], rounding: str) -> MadeVersion:
    """The task's model through the product's pipeline, without a fidelity report."""
    blobs: dict[str, bytes] = {}
    samples = Samples(tuple(tensor[:_SELF_TEST_SAMPLES].numpy() for tensor in task.exported.inputs))
    calibration = Samples(tuple(tensor.numpy() for tensor in task.calibration))
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        save_file(task.exported.states, weights)
        quantized = quantize(
            task.exported.graph,
            weights,
            samples,
            Order(levels, rounding),
            calibration=calibration if rounding in {"calibrated", "auto"} else None,
            sink=lambda ref, data: blobs.__setitem__(ref.digest, data),
            report=lambda *_: None,
            fidelity_seconds=0,
        )
    return MadeVersion(quantized.manifest(task.name, 1), blobs)
