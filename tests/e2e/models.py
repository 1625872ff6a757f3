"""Models that the fleet is given. Weights are random; what counts is what moves."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.models.resnet import resnet18

SEED = 7


def first() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """ResNet-18 for 8x8 images."""
    torch.manual_seed(SEED)
    model = resnet18(num_classes=10, in_channels=1)
    return model.eval(), (torch.randn(4, 1, 8, 8),)


def second() -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """The same with another last layer."""
    model, inputs = first()
    with torch.no_grad():
        model.get_submodule("fc").get_parameter("weight").add_(0.05)
    return model, inputs
