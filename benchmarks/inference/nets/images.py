"""Nets for images of everyday size, with random weights: the arithmetic of the published ones.

Random weights leave a batch norm's statistics without meaning, and activations then grow or vanish from layer
to layer. So the statistics are those of the images here.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn
from torch.nn.functional import interpolate

from benchmarks.inference.nets.net import Net
from benchmarks.inference.plan import BATCHES

_SIZE: Final = 224
_SMALL: Final = 32
_CALIBRATION: Final = 8
_SETTLING: Final = 32
_SETTLING_BATCH: Final = 16
_SEED: Final = 7
_CLASSES: Final = 1000


def resnet18() -> Net:
    """11.7 million weights, most of them in convolutions of 3x3."""
    basic = {"layer_type": "basic", "depths": [2, 2, 2, 2], "hidden_sizes": [64, 128, 256, 512]}
    return _net("ResNet", basic)


def resnet50() -> Net:
    """25.6 million weights, most of them in convolutions of 1x1 and 3x3."""
    return _net("ResNet", {})


def mobilenet_v2() -> Net:
    """3.5 million weights in convolutions of 1x1 and depthwise 3x3.

    With torch's padding, which is part of the convolutions; TensorFlow's would be 52 operators of its own in
    every runtime.
    """
    return _net("MobileNetV2", {"tf_padding": False})


def vit_small() -> Net:
    """22 million weights, most of them in linear layers (Touvron et al., 2021, arXiv 2012.12877)."""
    shape = {"hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 6, "intermediate_size": 1536}
    return _net("ViT", shape)


def small_resnet() -> Net:
    """A residual net that takes no time, to see that the benchmark works."""
    basic = {"layer_type": "basic", "depths": [1, 1], "hidden_sizes": [16, 32], "embedding_size": 16}
    return _net("ResNet", basic, _SMALL)


def _net(family: str, config: dict[str, Any], size: int = _SIZE) -> Net:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import transformers  # noqa: PLC0415 - takes seconds

    torch.manual_seed(_SEED)
    configure: Callable[..., Any] = getattr(transformers, f"{family}Config")
    architecture: Callable[[Any], nn.Module] = getattr(transformers, f"{family}ForImageClassification")
    module = architecture(configure(num_labels=_CLASSES, **config)).eval()
    _settle(module, _images(_SETTLING, size))
    images, calibration = _images(max(BATCHES), size), _images(_CALIBRATION, size)
    return Net(module, {"pixel_values": images}, {"pixel_values": calibration})


def _images(count: int, size: int) -> torch.Tensor:
    """Shapes and grain: float32 [count, 3, size, size], of about unit variance."""
    shapes = interpolate(torch.randn(count, 3, size // 8, size // 8), size=(size, size), mode="bicubic")
    return shapes + 0.3 * torch.randn(count, 3, size, size)


def _settle(module: nn.Module, images: torch.Tensor) -> None:
    """Every batch norm's statistics are then those of the images."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # torch then keeps the plain mean of all batches
    module.train()
    with torch.no_grad():
        for batch in torch.split(images, _SETTLING_BATCH):
            module(batch)
    module.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
