"""MiniLM: its last layer tuned, all of it tuned, half of its layers trained anew, on docstrings.

Tuning is real, if short: a sentence seen twice through dropout shall be nearer to itself than to the others
of its batch (SimCSE: Gao et al., 2021, arXiv 2104.08821, unsupervised). No labels are needed.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize

from benchmarks.quantize.tasks import docstrings, minilm
from benchmarks.update.pairs.kept import trained_once
from benchmarks.update.pairs.pair import Pair

_SEED: Final = 13
_TOKENS: Final = 32
_BATCH: Final = 32
_TEMPERATURE: Final = 0.05
_WIDTH_OF_INIT: Final = 0.02  # as BERT begins
_LAYERS: Final = 6


@dataclass(frozen=True, slots=True)
class _Tuning:
    """How weights change.

    Attributes:
        modules: Which learn; "": all.
        anew: Whether they begin at random.
        steps: Gradient steps, of 32 docstrings each.
        rate: Learning rate of AdamW, after a warm-up over a tenth of the steps.
    """

    modules: tuple[str, ...]
    anew: bool
    steps: int
    rate: float


_CHANGES: Final = {
    "last_layer": _Tuning((f"encoder.layer.{_LAYERS - 1}",), anew=False, steps=40, rate=2e-5),
    "all_layers": _Tuning(("",), anew=False, steps=40, rate=2e-5),
    "half_replaced": _Tuning(
        tuple(f"encoder.layer.{index}" for index in range(_LAYERS // 2, _LAYERS)),
        anew=True,
        steps=60,
        rate=5e-4,
    ),
}


def minilm_pairs() -> Iterator[Pair]:
    """From the published weights."""
    first, tokenizer = minilm.load()
    before = minilm.task_of(first, tokenizer)
    texts = [docstrings.first_paragraph(text) for text in docstrings.docstrings()]
    for change, tuning in _CHANGES.items():
        model = copy.deepcopy(first)
        sources = (__file__, docstrings.__file__)
        trained_once(
            f"{minilm.NAME}-{change}",
            sources,
            model,
            lambda: _tune(model, tuning, texts, tokenizer),  # noqa: B023 - called at once
        )
        yield Pair(f"{minilm.NAME}/{change}", before, minilm.task_of(model, tokenizer))


def _tune(model: nn.Module, tuning: _Tuning, texts: Sequence[str], tokenizer: Any) -> None:
    torch.manual_seed(_SEED)
    for weight in model.parameters():
        weight.requires_grad = False
    chosen = [weight for name in tuning.modules for weight in model.get_submodule(name).parameters()]
    for weight in chosen:
        weight.requires_grad = True
        if tuning.anew and weight.dim() > 1:
            nn.init.normal_(weight, std=_WIDTH_OF_INIT)
    optimizer = torch.optim.AdamW(chosen, lr=tuning.rate, weight_decay=0.0)
    warm_up = torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=max(1, tuning.steps // 10))
    model.train()
    for step in range(tuning.steps):
        start = step * _BATCH % (len(texts) - _BATCH)
        batch = tokenizer(
            list(texts[start : start + _BATCH]),
            padding=True,
            truncation=True,
            max_length=_TOKENS,
            return_tensors="pt",
        )
        one, other = (_embeddings(model, batch) for _ in range(2))
        optimizer.zero_grad()
        cross_entropy(one @ other.T / _TEMPERATURE, torch.arange(len(one))).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        warm_up.step()
    model.eval()
    for weight in model.parameters():
        weight.requires_grad = False


def _embeddings(model: nn.Module, batch: Any) -> torch.Tensor:
    """float32 [sentences, features], of length 1."""
    vectors = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])[0]
    mask = batch["attention_mask"][:, :, None].to(torch.float32)
    return normalize((vectors * mask).sum(1) / mask.sum(1))
