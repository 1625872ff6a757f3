"""The models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from benchmarks.quantize.tasks import digit_nets, minilm, shapes
from benchmarks.quantize.tasks.task import Task

TASKS: Final[Mapping[str, Callable[[], Task]]] = {
    minilm.NAME: minilm.minilm,
    digit_nets.RESNET18: digit_nets.resnet18,
    digit_nets.MOBILENET: digit_nets.mobilenet_v2,
    shapes.RESNET50: shapes.resnet50,
    shapes.VIT_B: shapes.vit_b,
}
