"""Two nets trained on digits: wide convolutions, and the depthwise ones that rounding hurts most."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import nn

from benchmarks.demo import digits, training
from benchmarks.demo.folders import CACHE as DEMO_CACHE
from benchmarks.demo.scoring import accuracy
from benchmarks.demo.training import Recipe
from benchmarks.demo.weights import trained
from benchmarks.models import mobilenet
from benchmarks.quantize.metrics import mean_cosine
from benchmarks.quantize.row import Scores
from benchmarks.quantize.tasks.task import Batch, Task
from benchmarks.quantize.threads import one_thread
from common.files import move_into_place
from server.export import export_model

RESNET18: Final = "resnet18-digits"
MOBILENET: Final = "mobilenet-digits"
_CACHE: Final = Path("build/bench/cache")
_CALIBRATION: Final = 256
_SEED: Final = 5
_RECIPE: Final = Recipe(epochs=30, batch_size=64, peak_rate=0.1, weight_decay=5e-4, seed=_SEED)


def resnet18() -> Task:
    """The demo's first version, from its cache where it is there."""
    DEMO_CACHE.mkdir(parents=True, exist_ok=True)
    split = digits.load()
    return task_of(RESNET18, trained(1, split, lambda *_: None), split)


def mobilenet_v2() -> Task:
    """A small MobileNetV2, trained here or in an earlier run."""
    split = digits.load()
    torch.manual_seed(_SEED)
    model = mobilenet.mobilenet_v2(digits.CLASSES, in_channels=1)
    sources = (__file__, digits.__file__, training.__file__, mobilenet.__file__)
    digest = hashlib.sha256(b"".join(Path(source).read_bytes() for source in sources)).hexdigest()[:12]
    file = _CACHE / f"mobilenet-{digest}.safetensors"
    if file.exists():
        model.load_state_dict(load_file(file))
    else:
        with one_thread():
            training.train(model, split.first, _RECIPE, lambda *_: None)
        _keep(model, file)
    return task_of(MOBILENET, model.eval(), split)


def _keep(model: nn.Module, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".unfinished")
    save_file(model.state_dict(), unfinished)
    move_into_place(unfinished, file)


def task_of(name: str, model: nn.Module, split: digits.Split) -> Task:
    """A net for digits with whatever weights, measured on the images held out."""
    images = torch.from_numpy(split.held_out.images)
    exported = export_model(model, images[:2])

    def score(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> Scores:
        return Scores(cosine=mean_cosine(outputs, reference), top1=accuracy(outputs, split.held_out.labels))

    calibration = torch.from_numpy(split.first.images[:_CALIBRATION])
    return Task(name, exported, (calibration,), (Batch(exported.graph, (images,)),), score=score)
