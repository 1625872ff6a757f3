"""Small models for tests of the whole way."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn


class TinyNet(nn.Module):
    """Digits-like images [batch, 1, 8, 8] to ten scores, through a convolution and two linear layers."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, width, 3, padding=1)
        self.hidden = nn.Linear(width * 64, 32)
        self.scores = nn.Linear(32, 10)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        features = torch.relu(self.convolution(image)).flatten(1)
        return cast("torch.Tensor", self.scores(torch.relu(self.hidden(features))))


def tiny_net(seed: int = 0, *, width: int = 8) -> tuple[TinyNet, tuple[torch.Tensor, ...]]:
    """A random net in eval mode, and example inputs for it."""
    torch.manual_seed(seed)
    return TinyNet(width).eval(), (torch.rand(4, 1, 8, 8),)
