from __future__ import annotations

import numpy as np
import torch
from torch import nn

from benchmarks.demo import training
from benchmarks.demo.digits import Samples
from benchmarks.demo.scoring import accuracy
from benchmarks.demo.training import Recipe

RECIPE = Recipe(epochs=4, batch_size=16, peak_rate=0.1, weight_decay=0.0, seed=3)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(256, 2))


def samples() -> Samples:
    """Bright against dark images."""
    labels = np.arange(64, dtype=np.int64) % 2
    images = np.broadcast_to(labels[:, None, None, None], (64, 1, 8, 8)).astype(np.float32)
    return Samples(images + np.random.default_rng(0).normal(0, 0.1, images.shape).astype(np.float32), labels)


def test_training_learns_and_reports_each_epoch() -> None:
    model, seen = net(), []
    training.train(model, samples(), RECIPE, lambda done, total: seen.append((done, total)))
    assert accuracy(training.answer(model, samples()), samples().labels) == 1.0
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert not model.training


def test_training_twice_gives_the_same_weights() -> None:
    first, second = net(), net()
    for model in (first, second):
        training.train(model, samples(), RECIPE, lambda *_: None)
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())


def test_fine_tuning_touches_the_named_layers_alone() -> None:
    model = net()
    training.train(model, samples(), RECIPE, lambda *_: None)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    training.fine_tune(model, ["3"], samples(), RECIPE, lambda *_: None)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"3.weight", "3.bias"}
