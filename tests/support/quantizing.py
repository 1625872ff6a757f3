"""A small model on disk, quantized as often as a test likes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import safetensors.torch

from server.export.exported import Exported
from server.export.pipeline import export_model
from server.quantize.order import Order
from server.quantize.pipeline import quantize
from server.quantize.quantized import Quantized
from server.quantize.samples import Samples
from server.quantize.workers import Workers
from tests.support.models import tiny_net


@dataclass(frozen=True, slots=True)
class ModelOnDisk:
    """A model's parts as a push brings them."""

    exported: Exported
    weights: Path
    order: Order

    def quantize(self, workers: Workers | None) -> tuple[Quantized, dict[str, bytes]]:
        """A version, and its blobs by digest."""
        blobs: dict[str, bytes] = {}
        quantized = quantize(
            self.exported.graph,
            self.weights,
            Samples(tuple(tensor.numpy() for tensor in self.exported.inputs)),
            self.order,
            sink=lambda ref, data: blobs.__setitem__(ref.digest, data),
            report=lambda *_: None,
            workers=workers,
        )
        return quantized, blobs


def some_model(folder: Path, rounding: str = "floor") -> ModelOnDisk:
    """A net of a dozen blocks in a folder."""
    exported = export_model(*tiny_net(width=128))
    weights = folder / "weights.safetensors"
    safetensors.torch.save_file(exported.states, weights)
    return ModelOnDisk(exported, weights, Order((4, 6, 8), rounding, max_blob_bytes=16 * 1024))
