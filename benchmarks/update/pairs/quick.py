"""A small net that has learnt nothing, and the same a little moved: for a test of the benchmark itself."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Final

import torch
from torch import nn

from benchmarks.demo import digits
from benchmarks.models.resnet import BasicBlock
from benchmarks.quantize.tasks.digit_nets import task_of
from benchmarks.update.pairs.pair import Pair

NAME: Final = "quick"
_CHANNELS: Final = 64
_SEED: Final = 11
_NOISE: Final = 0.005  # of a tensor's standard deviation


def quick_pairs() -> Iterator[Pair]:
    """One pair."""
    torch.manual_seed(_SEED)
    split = digits.load()
    model = nn.Sequential(
        nn.Conv2d(1, _CHANNELS, 3, padding=1),
        BasicBlock(_CHANNELS, 2 * _CHANNELS, stride=2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2 * _CHANNELS, digits.CLASSES),
    ).eval()
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for tensor in moved.parameters():
            if tensor.dim() > 1:
                tensor.add_(torch.randn_like(tensor), alpha=_NOISE * float(tensor.std()))
    yield Pair(f"{NAME}/all_layers", task_of(NAME, model, split), task_of(NAME, moved, split))
