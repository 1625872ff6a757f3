"""The models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from benchmarks.inference.nets import images, sentences
from benchmarks.inference.nets.net import Net

RESNET18: Final = "resnet18"
RESNET50: Final = "resnet50"
MOBILENET_V2: Final = "mobilenetv2"
VIT_SMALL: Final = "vit-small"
MINILM: Final = "minilm"
SMALL: Final = "small"

NETS: Final[Mapping[str, Callable[[], Net]]] = {
    RESNET18: images.resnet18,
    RESNET50: images.resnet50,
    MOBILENET_V2: images.mobilenet_v2,
    VIT_SMALL: images.vit_small,
    MINILM: sentences.minilm_64,
}
QUICK: Final[Mapping[str, Callable[[], Net]]] = {SMALL: images.small_resnet}
