"""Models that are delivered here; their weights are random, which bytes do not mind."""

from __future__ import annotations

import torch
from torch import nn

from benchmarks.models.resnet import resnet18


def net(width: int) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """A model that takes images [batch, 1, 8, 8], and an example for it.

    Args:
        width: About ``width**2`` weights in two layers; 0 for a ResNet-18 of 11.2 million.
    """
    torch.manual_seed(0)
    inputs = (torch.rand(2, 1, 8, 8),)
    if not width:
        return resnet18().eval(), inputs
    layers = (nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
    return nn.Sequential(*layers, nn.Linear(width, 10)).eval(), inputs
