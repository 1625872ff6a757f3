"""Models of everyday size with random weights: they say nothing of fidelity, and much of speed and memory."""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import nn

from benchmarks.quantize.tasks.task import Task
from server.export import export_model

RESNET50: Final = "resnet50"
VIT_B: Final = "vit-b"
_CALIBRATION: Final = 8
_SEED: Final = 7


def resnet50() -> Task:
    """25.5 million weights, most of them in convolutions of 1x1 and 3x3."""
    import transformers  # noqa: PLC0415 - takes seconds

    config = transformers.ResNetConfig(num_labels=1000)
    return _task(RESNET50, transformers.ResNetForImageClassification, config)


def vit_b() -> Task:
    """86 million weights, most of them in linear layers."""
    import transformers  # noqa: PLC0415 - takes seconds

    config = transformers.ViTConfig(num_labels=1000)
    return _task(VIT_B, transformers.ViTForImageClassification, config)


def _task(name: str, architecture: Any, config: Any) -> Task:
    torch.manual_seed(_SEED)
    model: nn.Module = architecture(config).eval()
    images = torch.randn(_CALIBRATION, 3, 224, 224)
    return Task(name, export_model(model, {"pixel_values": images[:2]}), (images,))
