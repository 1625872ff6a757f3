"""The three versions that the demo pushes, trained once and kept as safetensors."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.demo import digits, training
from benchmarks.demo.digits import Split
from benchmarks.demo.folders import CACHE
from benchmarks.demo.training import Recipe
from benchmarks.models import resnet
from common.files import move_into_place

VERSIONS: Final = (1, 2, 3)
CHANGED_LAYERS: Final = ("layer4.1.conv2", "fc")
_SEED: Final = 1
_FIRST: Final = Recipe(epochs=14, batch_size=64, peak_rate=0.05, weight_decay=5e-4, seed=_SEED)
_TUNED: Final = Recipe(epochs=3, batch_size=64, peak_rate=0.005, weight_decay=0.0, seed=_SEED + 1)
_DAMAGED: Final = Recipe(epochs=3, batch_size=64, peak_rate=0.05, weight_decay=0.0, seed=_SEED + 2)

OnProgress = Callable[[int, int, int], None]


def trained(version: int, split: Split, on_progress: OnProgress) -> nn.Module:
    """A version of the classifier, from the cache where it is there.

    Args:
        version: 1: trained from nothing. 2: the last layers fine-tuned with the samples collected later.
            3: the same last layers fine-tuned with shuffled labels, a mistake that a device must notice.
        split: The data.
        on_progress: Told the version in training, the epochs done, and all its epochs.
    """
    model: nn.Module = resnet.resnet18(num_classes=digits.CLASSES, in_channels=1)
    file = CACHE / f"version-{version}-{_recipe_digest()}.safetensors"
    if file.exists():
        model.load_state_dict(load_file(file))
    else:
        model = _train(version, split, on_progress)
        _keep(model, file)
    return model.eval()


def load_trained(version: int) -> nn.Module:
    """A version that the cache holds.

    Raises:
        FileNotFoundError: It was not trained yet.
    """
    model = resnet.resnet18(num_classes=digits.CLASSES, in_channels=1)
    model.load_state_dict(load_file(CACHE / f"version-{version}-{_recipe_digest()}.safetensors"))
    return model.eval()


def _train(version: int, split: Split, on_progress: OnProgress) -> nn.Module:
    everything = digits.join(split.first, split.later)

    def on_epoch(done: int, total: int) -> None:
        on_progress(version, done, total)

    if version == 1:
        torch.manual_seed(_SEED)
        model: nn.Module = resnet.resnet18(num_classes=digits.CLASSES, in_channels=1)
        training.train(model, split.first, _FIRST, on_epoch)
        return model
    model = trained(version - 1, split, on_progress)
    samples = everything if version == 2 else digits.with_shuffled_labels(everything, seed=_SEED)
    recipe = _TUNED if version == 2 else _DAMAGED
    training.fine_tune(model, CHANGED_LAYERS, samples, recipe, on_epoch)
    return model


def _keep(model: nn.Module, file: Path) -> None:
    unfinished = file.with_suffix(".unfinished")
    save_file(model.state_dict(), unfinished)
    move_into_place(unfinished, file)


def _recipe_digest() -> str:
    """Changes with everything that the weights depend on, so that no stale weights are used."""
    files = (__file__, digits.__file__, training.__file__, resnet.__file__)
    return hashlib.sha256(b"".join(Path(file).read_bytes() for file in files)).hexdigest()[:12]
