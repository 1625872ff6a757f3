"""Small models on their way through a calibration."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from torch import nn

from server.export.exported import Exported
from server.export.pipeline import export_model
from server.quantize.format import Format
from server.quantize.order import Order
from server.quantize.pipeline import quantize
from server.quantize.quantized import Quantized
from server.quantize.rounding import rounding
from server.quantize.samples import Samples
from tests.support.zoo import randomize_statistics


def images(count: int, *shape: int, seed: int = 1) -> Samples:
    """Samples whose pixels go together, as those of pictures do: float32 [count, *shape]."""
    random = np.random.default_rng(seed)
    values = random.random((count, *shape), np.float32)
    values[..., 1:] = 0.7 * values[..., :-1] + 0.3 * values[..., 1:]
    return Samples((values,))


def normed_net(seed: int = 0) -> tuple[nn.Module, tuple[torch.Tensor, ...]]:
    """Convolutions without a bias under batch norms with trained-looking statistics, and a linear layer."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, groups=2, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 10),
    )
    randomize_statistics(model)
    return model.eval(), (torch.rand(4, 1, 8, 8),)


def one_mode(exported: Exported, mode: str, levels: tuple[int, ...]) -> dict[str, Format]:
    """Every weight of two axes or more in one form."""
    return {
        name: Format(levels, rounding(mode)) for name, tensor in exported.states.items() if tensor.dim() > 1
    }


@dataclass
class Trial:
    """A model that is quantized with the options of a test.

    Attributes:
        store: What the sink got, by digest.
    """

    exported: Exported
    folder: Path
    store: dict[str, bytes] = field(default_factory=dict)
    steps: list[tuple[str, int, int]] = field(default_factory=list)

    def quantize(self, order: Order, **options: Any) -> Quantized:
        """A version; every blob that it names is in the store."""
        path = self.folder / "weights.safetensors"
        safetensors.torch.save_file(self.exported.states, path)
        return quantize(
            self.exported.graph,
            path,
            Samples(tuple(tensor.numpy() for tensor in self.exported.inputs)),
            order,
            sink=lambda ref, data: self.store.__setitem__(ref.digest, data),
            report=lambda *step: self.steps.append(step),
            **{"fidelity_seconds": 0.0} | options,
        )


def trial(
    folder: Path,
    model: tuple[nn.Module, Sequence[torch.Tensor]],
    changes: Mapping[str, Callable[[torch.Tensor], torch.Tensor]] | None = None,
) -> Trial:
    """A model, with some states changed after its export."""
    exported = export_model(*model)
    for name, change in (changes or {}).items():
        exported.states[name] = change(exported.states[name].clone())
    return Trial(exported, folder)


def relative(error: NDArray[Any], wanted: NDArray[Any]) -> float:
    """Length of an error as a share of what was wanted."""
    return float(np.linalg.norm(error) / np.linalg.norm(wanted))
