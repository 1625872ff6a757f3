"""MiniLM-L6 with its published weights, on docstrings of the standard library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch

from benchmarks.inference.nets.net import Net
from benchmarks.inference.plan import BATCHES
from benchmarks.quantize.tasks import minilm
from benchmarks.quantize.tasks.docstrings import docstrings

TOKENS: Final = 64
_CALIBRATION: Final = 64
_HELD_OUT: Final = 128


def minilm_64() -> Net:
    """Measured and calibrated on texts that fill all tokens.

    Padding would be of no use to calibration: a mask's -3e38 ruins the range of the scores that ONNX Runtime
    quantizes after adding it.
    """
    module, tokenizer = minilm.load()
    tokens = _tokenized(tokenizer, docstrings()[_HELD_OUT:])
    full = tokens["attention_mask"].all(1)
    whole = {name: tensor[full] for name, tensor in tokens.items()}
    count = max(BATCHES)
    return Net(
        module,
        {name: tensor[:count] for name, tensor in whole.items()},
        {name: tensor[count : count + _CALIBRATION] for name, tensor in whole.items()},
    )


def held_out() -> dict[str, torch.Tensor]:
    """Other texts of any length, cut or padded, by input."""
    return _tokenized(minilm.load()[1], docstrings()[:_HELD_OUT])


def _tokenized(tokenizer: Any, texts: Sequence[str]) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``attention_mask``, int64 [texts, TOKENS]."""
    encoded = tokenizer(
        list(texts), truncation=True, padding="max_length", max_length=TOKENS, return_tensors="pt"
    )
    return {name: encoded[name] for name in ("input_ids", "attention_mask")}
