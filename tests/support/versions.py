"""Real versions of small models: exported and quantized as the server does it, blobs in a dictionary."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from common.manifest import BlobRef, Manifest
from common.sizes import SizeReport
from server.export.exported import Exported
from server.export.pipeline import export_model
from server.quantize.order import Order
from server.quantize.pipeline import quantize
from server.quantize.samples import Samples


@dataclass
class Version:
    """A version as a device finds it on its disk, and the model that it was made of."""

    manifest: Manifest
    blobs: dict[str, bytes]
    sizes: SizeReport
    exported: Exported
    reads: list[str] = field(default_factory=list)

    def read(self, digest: str) -> bytes:
        self.reads.append(digest)
        return self.blobs[digest]

    def inputs(self) -> dict[str, NDArray[Any]]:
        """The example inputs, by name."""
        items = zip(self.exported.graph.inputs, self.exported.inputs, strict=True)
        return {item.name: tensor.numpy() for item, tensor in items}


def make_version(
    model: nn.Module,
    example_inputs: Sequence[torch.Tensor] | Mapping[str, torch.Tensor],
    *,
    name: str = "tiny",
    number: int = 1,
    levels: tuple[int, ...] = (4, 6, 8),
    labels: NDArray[np.int64] | None = None,
    min_agreement: float = 0.0,
    max_blob_bytes: int = 16 * 1024,
    rounding: str = "floor",
    refit: bool = False,
) -> Version:
    """A model's version; with labels, the example inputs are the acceptance test."""
    exported = export_model(model, example_inputs)
    blobs: dict[str, bytes] = {}

    def sink(ref: BlobRef, data: bytes) -> None:
        blobs[ref.digest] = data

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        safetensors.torch.save_file(exported.states, weights)
        made = quantize(
            exported.graph,
            weights,
            Samples(tuple(tensor.numpy() for tensor in exported.inputs), labels),
            Order(levels, rounding, max_blob_bytes, min_agreement, refit=refit),
            sink=sink,
            report=lambda *_: None,
        )
    return Version(made.manifest(name, number), blobs, made.sizes, exported)
