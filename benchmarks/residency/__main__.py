"""``python -m benchmarks.residency --json FILE``: fidelity at budgets from base to full, by order of lifts.

MiniLM's blocks are lifted by gain per byte, as the policy does it, and front to back, level by level, as it
does where nobody measured gains. The gains come from other texts than those that are scored.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

import safetensors.torch
import torch

from benchmarks.quantize.tasks.minilm import minilm
from benchmarks.quantize.tasks.task import Task
from common.files import write_atomically
from common.manifest import BlobRef, Manifest
from device_agent.inference.dequantize import Dequantizer
from device_agent.residency.pager import Pager
from device_agent.residency.policy import lowest_level, target_levels, total_bytes
from device_agent.residency.policy.footprint import full_bytes
from server.quantize.order import Order
from server.quantize.pipeline import quantize
from server.quantize.samples import Samples

LEVELS: Final = (4, 6, 8)
_BLOCK_BYTES: Final = 256 * 1024
_SAMPLES: Final = 64
_FIDELITY_SECONDS: Final = 600.0
_SHARES: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


@dataclass(frozen=True, slots=True)
class Row:
    """One budget.

    Attributes:
        share: Of what lies between base and full level.
        budget_bytes: Memory for weights.
        by_gain, front_to_back: Mean cosine of the embeddings to those of the floats.
        level_by_gain, level_front_to_back: Lowest level of any block.
    """

    share: float
    budget_bytes: int
    by_gain: float
    front_to_back: float
    level_by_gain: int
    level_front_to_back: int


class _Weights:
    """A pager's weights as the graph asks for them; implements ``StateSource``."""

    def __init__(self, pager: Pager) -> None:
        self._snapshot = pager.snapshot

    def tensor(self, name: str) -> torch.Tensor:
        parts = self._snapshot.parts(name)
        if parts:
            return Dequantizer().weight(parts, highest_level=LEVELS[-1])
        return torch.from_numpy(self._snapshot.float_value(name, LEVELS[-1]).copy())


def main() -> None:
    """A row per budget, printed and in a file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    file = parser.parse_args().json
    task = minilm()
    manifest, blobs = _quantized(task)
    blind = replace(manifest, blocks=tuple(replace(block, gains=()) for block in manifest.blocks))
    base_bytes = total_bytes(manifest, manifest.base_levels())
    rows = []
    for share in _SHARES:
        budget_bytes = base_bytes + round(share * (full_bytes(manifest) - base_bytes))
        by_gain, level = _cosine(task, manifest, blobs, target_levels(manifest, budget_bytes=budget_bytes))
        in_order, flat = _cosine(task, manifest, blobs, target_levels(blind, budget_bytes=budget_bytes))
        rows.append(Row(share, budget_bytes, by_gain, in_order, level, flat))
        print(f"{share:4.0%} {by_gain:.4f} (level {level})  front to back {in_order:.4f} (level {flat})")
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps([asdict(row) for row in rows], indent=1).encode())


def _quantized(task: Task) -> tuple[Manifest, dict[str, bytes]]:
    """The version with gains, and its blobs."""
    blobs: dict[str, bytes] = {}

    def sink(ref: BlobRef, data: bytes) -> None:
        blobs[ref.digest] = data

    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / "weights.safetensors"
        safetensors.torch.save_file(task.exported.states, weights)
        made = quantize(
            task.exported.graph,
            weights,
            Samples(tuple(tensor[:_SAMPLES].numpy() for tensor in task.calibration)),
            Order(LEVELS, max_blob_bytes=_BLOCK_BYTES),
            sink=sink,
            report=lambda *_: None,
            fidelity_seconds=_FIDELITY_SECONDS,
        )
    manifest = made.manifest(task.name, 1)
    assert any(any(block.gains) for block in manifest.blocks), "nobody measured the gains"
    return manifest, blobs


def _cosine(
    task: Task, manifest: Manifest, blobs: dict[str, bytes], levels: tuple[int, ...]
) -> tuple[float, int]:
    """Mean cosine to the floats, and the level that answers are called by."""
    scores = task.scores(_Weights(Pager(manifest, blobs.__getitem__, levels)))
    assert scores.cosine is not None
    return float(scores.cosine), lowest_level(manifest, levels)


if __name__ == "__main__":
    main()
