"""Training of a small image classifier, the same on every run of one machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.functional import cross_entropy, pad

from benchmarks.demo.digits import Samples

OnEpoch = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a network learns.

    Attributes:
        epochs: Passes over the samples.
        batch_size: Samples per step.
        peak_rate: Highest learning rate of the one-cycle schedule (Smith and Topin, 2018, arXiv 1708.07120).
        weight_decay: Of SGD with Nesterov momentum 0.9.
        seed: Of order and shifts.
    """

    epochs: int
    batch_size: int
    peak_rate: float
    weight_decay: float
    seed: int


def train(model: nn.Module, samples: Samples, recipe: Recipe, on_epoch: OnEpoch) -> None:
    """Afterwards the whole network has learnt from the samples; it is in evaluation mode."""
    model.train()
    _fit(model, list(model.parameters()), samples, recipe, on_epoch)
    model.eval()


def fine_tune(
    model: nn.Module, layers: Sequence[str], samples: Samples, recipe: Recipe, on_epoch: OnEpoch
) -> None:
    """Afterwards the named layers alone have learnt from the samples.

    The network stays in evaluation mode, so that no batch-norm statistic moves: every tensor outside the
    named layers is bit for bit what it was.
    """
    model.eval()
    _freeze(model)
    chosen = [weight for layer in layers for weight in model.get_submodule(layer).parameters()]
    for weight in chosen:
        weight.requires_grad = True
    _fit(model, chosen, samples, recipe, on_epoch)
    _freeze(model)


@torch.no_grad()
def answer(model: nn.Module, samples: Samples) -> NDArray[np.float32]:
    """float32 [samples, classes]: the outputs in evaluation mode; the highest is the answer."""
    model.eval()
    outputs: NDArray[np.float32] = model(torch.from_numpy(samples.images)).numpy()
    return outputs


def _freeze(model: nn.Module) -> None:
    for weight in model.parameters():
        weight.requires_grad = False


def _fit(
    model: nn.Module, weights: Sequence[nn.Parameter], samples: Samples, recipe: Recipe, on_epoch: OnEpoch
) -> None:
    random = torch.Generator().manual_seed(recipe.seed)
    optimizer = torch.optim.SGD(
        weights, lr=recipe.peak_rate, momentum=0.9, weight_decay=recipe.weight_decay, nesterov=True
    )
    steps = recipe.epochs * (len(samples) // recipe.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.peak_rate, total_steps=steps, pct_start=0.25
    )
    for epoch in range(recipe.epochs):
        for images, labels in _batches(samples, recipe.batch_size, random):
            optimizer.zero_grad()
            cross_entropy(model(images), labels, label_smoothing=0.05).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
        on_epoch(epoch + 1, recipe.epochs)


def _batches(
    samples: Samples, batch_size: int, random: torch.Generator
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Whole batches in random order, every image shifted by up to one pixel."""
    images, labels = torch.from_numpy(samples.images), torch.from_numpy(samples.labels)
    order = torch.randperm(len(labels), generator=random)
    for start in range(0, len(labels) - batch_size + 1, batch_size):
        chosen = order[start : start + batch_size]
        yield _shifted(images[chosen], random), labels[chosen]


def _shifted(images: torch.Tensor, random: torch.Generator) -> torch.Tensor:
    """float32 [batch, 1, height, width], each image moved by -1, 0 or 1 pixels along both axes."""
    height, width = images.shape[-2:]
    padded = pad(images, (1, 1, 1, 1))
    shifts = torch.randint(0, 3, (len(images), 2), generator=random).tolist()
    moved = [image[:, y : y + height, x : x + width] for image, (y, x) in zip(padded, shifts, strict=True)]
    return torch.stack(moved)
