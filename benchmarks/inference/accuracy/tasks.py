"""What accuracy is measured on: trained nets on images, MiniLM on texts, none of them seen in calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import torch

from benchmarks.inference.nets import images, sentences
from benchmarks.inference.nets.net import Net
from benchmarks.inference.nets.registry import MINILM, SMALL
from benchmarks.quantize.metrics import mean_cosine
from benchmarks.quantize.row import Scores
from benchmarks.quantize.tasks import digit_nets
from benchmarks.quantize.tasks.task import Batch, Task
from server.export import export_model

_EXAMPLES: Final = 2


def minilm_64() -> Task:
    """Mean of the tokens' vectors, as the model's card has it, on texts of up to 64 tokens."""
    task = _task(MINILM, sentences.minilm_64(), sentences.held_out())
    task.read = _mean_of_tokens
    return task


def small() -> Task:
    """To see that the benchmark works."""
    net = images.small_resnet()
    return _task(SMALL, net, net.inputs)


TASKS: Final[Mapping[str, Callable[[], Task]]] = {
    digit_nets.RESNET18: digit_nets.resnet18,
    digit_nets.MOBILENET: digit_nets.mobilenet_v2,
    MINILM: minilm_64,
}
QUICK: Final[Mapping[str, Callable[[], Task]]] = {SMALL: small}


def _task(name: str, net: Net, samples: dict[str, torch.Tensor]) -> Task:
    exported = export_model(net.module, {key: tensor[:_EXAMPLES] for key, tensor in net.inputs.items()})
    return Task(
        name,
        exported,
        tuple(net.calibration.values()),
        (Batch(exported.graph, tuple(samples.values())),),
        score=lambda outputs, reference: Scores(cosine=mean_cosine(outputs, reference)),
    )


def _mean_of_tokens(batch: Batch, outputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """float32 [texts, features]."""
    mask = batch.inputs[1][:, :, None].to(torch.float32)
    return (outputs[0] * mask).sum(1) / mask.sum(1)
