"""MiniLM-L6 with its published weights, on docstrings of the standard library."""

from __future__ import annotations

from typing import Any, Final

import torch

from benchmarks.inference.nets.net import Net
from benchmarks.inference.plan import BATCHES
from benchmarks.quantize.tasks import minilm
from benchmarks.quantize.tasks.docstrings import docstrings

TOKENS: Final = 64
_CALIBRATION: Final = 64
_FEWEST_TOKENS: Final = 5


def minilm_64() -> Net:
    """Measured on texts that fill all 64 tokens; calibrated on such, and on shorter ones that are padded."""
    module, tokenizer = minilm.load()
    tokens = tokenized(tokenizer)
    full = tokens["attention_mask"].all(1).nonzero()[-max(BATCHES) :, 0]
    return Net(
        module,
        {name: tensor[full] for name, tensor in tokens.items()},
        {name: tensor[:_CALIBRATION] for name, tensor in tokens.items()},
    )


def held_out(tokenizer: Any, count: int) -> dict[str, torch.Tensor]:
    """Texts that the model is not calibrated on, by input."""
    return {
        name: tensor[_CALIBRATION : _CALIBRATION + count] for name, tensor in tokenized(tokenizer).items()
    }


def tokenized(tokenizer: Any) -> dict[str, torch.Tensor]:
    """All texts, cut or padded: ``input_ids`` and ``attention_mask``, int64 [texts, TOKENS]."""
    encoded = tokenizer(
        list(docstrings()), truncation=True, padding="max_length", max_length=TOKENS, return_tensors="pt"
    )
    long_enough = encoded["attention_mask"].sum(1) >= _FEWEST_TOKENS
    return {name: encoded[name][long_enough] for name in ("input_ids", "attention_mask")}
