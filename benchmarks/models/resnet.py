"""ResNet-18 with a stem for small images (He et al., 2016, arXiv 1512.03385, section 4.2 for CIFAR)."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import relu

_WIDTHS = (64, 128, 256, 512)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or in_channels != channels:
            conv = nn.Conv2d(in_channels, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [batch, channels, height, width] → the same with this block's channels and stride."""
        y = relu(self.bn1(self.conv1(x)))
        return relu(self.bn2(self.conv2(y)) + self.downsample(x))


class ResNet18(nn.Module):
    """11.2 million weights; a 3x3 stem without pooling, so that 8x8 and 32x32 images keep their detail."""

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, _WIDTHS[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        for index, channels in enumerate(_WIDTHS):
            before = _WIDTHS[max(index - 1, 0)]
            first = BasicBlock(before, channels, 1 if index == 0 else 2)
            self.add_module(f"layer{index + 1}", nn.Sequential(first, BasicBlock(channels, channels, 1)))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(_WIDTHS[-1], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """float32 [batch, in_channels, height, width] → float32 [batch, num_classes], logits."""
        x = relu(self.bn1(self.conv1(x)))
        for index in range(len(_WIDTHS)):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))  # type: ignore[no-any-return]


def resnet18(num_classes: int = 10, in_channels: int = 1) -> ResNet18:
    """An untrained ResNet-18, convolutions initialised as torchvision's (Kaiming normal, fan out)."""
    return ResNet18(num_classes, in_channels)
