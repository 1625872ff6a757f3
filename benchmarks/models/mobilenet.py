"""A small MobileNetV2 for small images (Sandler et al., 2018, arXiv 1801.04381)."""

from __future__ import annotations

import itertools

import torch
from torch import nn

_STEM = 32
_EXPANSION = 6
_STAGES = ((24, 1, 2), (32, 2, 2), (64, 2, 2))  # channels, stride of the first block, blocks
_HEAD = 256


class InvertedResidual(nn.Module):
    """Widen, filter each channel by itself, narrow; beside a shortcut where shapes allow."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        wide = in_channels * _EXPANSION
        self.shortcut = stride == 1 and in_channels == channels
        self.layers = nn.Sequential(
            *_convolution(in_channels, wide, 1),
            *_convolution(wide, wide, 3, stride, groups=wide),
            nn.Conv2d(wide, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [batch, in_channels, height, width] → the same with this block's channels and stride."""
        y: torch.Tensor = self.layers(x)
        return x + y if self.shortcut else y


class MobileNetV2(nn.Module):
    """0.2 million weights in convolutions of 1x1 and depthwise 3x3; the stem keeps the size of the image."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [*_convolution(in_channels, _STEM, 3)]
        before = _STEM
        for channels, stride, blocks in _STAGES:
            for step in itertools.chain([stride], itertools.repeat(1, blocks - 1)):
                layers.append(InvertedResidual(before, channels, step))
                before = channels
        layers += [*_convolution(before, _HEAD, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(_HEAD, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [batch, in_channels, height, width] → float32 [batch, num_classes], logits."""
        return self.classifier(self.features(x))  # type: ignore[no-any-return]


def mobilenet_v2(num_classes: int = 10, in_channels: int = 1) -> MobileNetV2:
    """An untrained net with torch's own initialisation."""
    return MobileNetV2(num_classes, in_channels)


def _convolution(
    in_channels: int, channels: int, kernel: int, stride: int = 1, *, groups: int = 1
) -> tuple[nn.Module, nn.Module, nn.Module]:
    convolution = nn.Conv2d(in_channels, channels, kernel, stride, kernel // 2, groups=groups, bias=False)
    return convolution, nn.BatchNorm2d(channels), nn.ReLU6()
