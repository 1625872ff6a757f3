"""ResNet-18 on digits: its last layer tuned, all of it tuned, half of its blocks trained anew."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Final

import torch
from torch import nn

from benchmarks.demo import digits, training
from benchmarks.demo.folders import CACHE as DEMO_CACHE
from benchmarks.demo.training import Recipe
from benchmarks.demo.weights import trained
from benchmarks.quantize.tasks.digit_nets import RESNET18, task_of
from benchmarks.update.pairs.kept import trained_once
from benchmarks.update.pairs.pair import Pair

_SEED: Final = 11
_REPLACED: Final = ("layer1.1", "layer2.1", "layer3.1", "layer4.1")  # every other block, 56 % of the weights
_HEAD: Final = Recipe(epochs=3, batch_size=64, peak_rate=0.005, weight_decay=0.0, seed=_SEED)
_GENTLE: Final = Recipe(epochs=3, batch_size=64, peak_rate=0.002, weight_decay=5e-4, seed=_SEED)
_ANEW: Final = Recipe(epochs=6, batch_size=64, peak_rate=0.02, weight_decay=5e-4, seed=_SEED)


def resnet_pairs() -> Iterator[Pair]:
    """From the demo's first version; what comes later has also seen the samples that came later."""
    DEMO_CACHE.mkdir(parents=True, exist_ok=True)
    split = digits.load()
    first = trained(1, split, lambda *_: None)
    before = task_of(RESNET18, first, split)
    for change in ("last_layer", "all_layers", "half_replaced"):
        model = copy.deepcopy(first)
        sources = (__file__, digits.__file__, training.__file__)
        trained_once(f"{RESNET18}-{change}", sources, model, lambda: _change(model, change, split))  # noqa: B023
        yield Pair(f"{RESNET18}/{change}", before, task_of(RESNET18, model, split))


def _change(model: nn.Module, change: str, split: digits.Split) -> None:
    samples = digits.join(split.first, split.later)
    if change == "last_layer":
        training.fine_tune(model, ("fc",), samples, _HEAD, lambda *_: None)
    elif change == "all_layers":
        training.train(model, samples, _GENTLE, lambda *_: None)
    else:
        _reset(model, _REPLACED)
        training.fine_tune(model, _REPLACED, samples, _ANEW, lambda *_: None)


def _reset(model: nn.Module, names: Sequence[str]) -> None:
    torch.manual_seed(_SEED)
    for name in names:
        for module in model.get_submodule(name).modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()
