"""A next version keeps scales, fits and ranges of the one before it wherever they still serve."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
import safetensors.torch
import torch

from server.export.exported import Exported
from server.export.pipeline import export_model
from server.quantize.held_version import HeldVersion
from server.quantize.order import Order
from server.quantize.pipeline import quantize
from server.quantize.quantized import Quantized
from server.quantize.samples import Samples
from tests.support.models import tiny_net

LEVELS = (4, 6, 8)
MODES = ["floor", "adaptive", "calibrated", "auto"]


@dataclass
class Release:
    """A version, and all that came of making it."""

    folder: Path
    rounding: str = "floor"
    block_bytes: int = 16 * 1024
    before: Release | None = None
    quantized: Quantized | None = None
    blobs: dict[str, bytes] = field(default_factory=dict)
    scales: list[tuple[int, int]] = field(default_factory=list)

    def make(self, exported: Exported) -> Release:
        weights = self.folder / "weights.safetensors"
        safetensors.torch.save_file(exported.states, weights)
        self.quantized = quantize(
            exported.graph,
            weights,
            Samples(tuple(tensor.numpy() for tensor in exported.inputs)),
            Order(LEVELS, self.rounding, self.block_bytes),
            calibration=calibration(exported) if self.rounding in {"calibrated", "auto"} else None,
            sink=lambda ref, data: self.blobs.__setitem__(ref.digest, data),
            report=self._told,
            held=self.before.held() if self.before else None,
            fidelity_seconds=0,
        )
        return self

    @property
    def made(self) -> Quantized:
        assert self.quantized is not None
        return self.quantized

    def held(self) -> HeldVersion:
        return HeldVersion(self.made.manifest("m", 1), self.blobs.__getitem__)

    def _told(self, step: str, done: int, total: int) -> None:
        if step == "scales":
            self.scales.append((done, total))


def calibration(exported: Exported) -> Samples:
    random = torch.Generator().manual_seed(7)
    shapes = [tensor.shape[1:] for tensor in exported.inputs]
    return Samples(tuple(torch.randn(32, *shape, generator=random).numpy() for shape in shapes))


def a_net(width: int = 8) -> Exported:
    return export_model(*tiny_net(width=width))


def moved(exported: Exported, share: float, seed: int = 1) -> Exported:
    """Each weight off by that share of its tensor's deviation."""
    random = torch.Generator().manual_seed(seed)
    states = {
        name: tensor + share * tensor.std() * torch.randn(tensor.shape, generator=random)
        if tensor.dim() > 1
        else tensor
        for name, tensor in exported.states.items()
    }
    return Exported(exported.graph, states, exported.inputs)


@pytest.mark.parametrize("mode", MODES)
def test_the_same_model_again_is_the_same_version(tmp_path: Path, mode: str) -> None:
    net = a_net()
    first = Release(tmp_path, mode).make(net)
    again = Release(tmp_path, mode, before=first).make(net)
    assert (again.made.blocks, again.made.graph) == (first.made.blocks, first.made.graph)
    assert again.made.self_test == first.made.self_test
    ((kept, rows),) = again.scales
    assert kept == rows == sum(part.rows for block in first.made.blocks for part in block.tensors)
    assert first.scales == []


@pytest.mark.parametrize("mode", MODES)
def test_a_tuned_model_keeps_most_scales_and_then_all(tmp_path: Path, mode: str) -> None:
    net = a_net()
    first = Release(tmp_path, mode).make(net)
    tuned = moved(net, 0.003)
    second = Release(tmp_path, mode, before=first).make(tuned)
    ((kept, rows),) = second.scales
    assert kept > 0.7 * rows
    third = Release(tmp_path, mode, before=second).make(tuned)
    assert third.made.blocks == second.made.blocks


def test_a_model_trained_anew_keeps_neither(tmp_path: Path) -> None:
    net = a_net()
    first = Release(tmp_path).make(net)
    states = {
        name: 3 * tensor if tensor.is_floating_point() else tensor for name, tensor in net.states.items()
    }
    other = Exported(net.graph, states, net.inputs)
    second = Release(tmp_path, before=first).make(other)
    assert second.scales[0][0] == 0
    assert second.made.graph == Release(tmp_path).make(other).made.graph


def test_blocks_of_another_size_keep_the_same_scales(tmp_path: Path) -> None:
    net = a_net(width=128)
    first = Release(tmp_path).make(net)
    tuned = moved(net, 0.003)
    small = Release(tmp_path, before=first).make(tuned)
    large = Release(tmp_path, block_bytes=256 * 1024, before=first).make(tuned)
    assert len(large.made.blocks) < len(small.made.blocks)
    assert large.scales == small.scales
