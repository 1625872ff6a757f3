"""What a model answered to a batch, one row per sample, and how two models' answers differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.model import Output

_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """The answers to a batch.

    Attributes:
        values: [samples, values]: all float outputs of a sample side by side; of a model without float
            outputs all its outputs, as whole numbers.
        choices: int64, any shape: index of the greatest value along the last axis of the first float output,
            or the first output itself where there is none; None where that axis has one value.
        guesses: int64 [samples], what a label is compared with; None where the first output gives no such.
    """

    values: NDArray[Any]
    choices: NDArray[np.int64] | None
    guesses: NDArray[np.int64] | None

    @property
    def discrete(self) -> bool:
        """Whether the values are whole numbers, which differ or do not."""
        return self.values.dtype.kind != "f"


@dataclass(frozen=True, slots=True, eq=False)
class Difference:
    """Float64 [samples] each: cosine of the two answers, energy of the reference and of the error."""

    cosine: NDArray[np.float64]
    signal: NDArray[np.float64]
    error: NDArray[np.float64]

    def relative(self) -> NDArray[np.float64]:
        """Energy of the error as a share of the reference's; as it is where the reference is zero."""
        return self.error / np.where(self.signal, self.signal, 1.0)


def read_answers(
    stated: Sequence[Output], outputs: Sequence[torch.Tensor], samples: int, *, where: str
) -> Answers:
    """The answers in what a graph put out; shares no memory with it.

    Args:
        stated: The graph's outputs.
        outputs: The tensors, in the same order.
        samples: Size of the batch. An output that has none says the same of each sample.
        where: What ran, for the message, e.g. "at 4 bits".

    Raises:
        InvalidInputError: An output is NaN.
    """
    arrays = [_array(output) for output in outputs]
    floats = [index for index, array in enumerate(arrays) if array.dtype.kind == "f"]
    for index in floats:
        if np.isnan(arrays[index]).any():
            raise InvalidInputError(
                f"Output {stated[index].name!r} of the model is NaN for a sample {where}.",
                advice="Give samples that the model can answer, or leave out the lowest level.",
            )
    compared = floats or list(range(len(arrays)))
    first = arrays[compared[0]]
    return Answers(
        np.concatenate([_rows(stated[index], arrays[index], samples) for index in compared], axis=1),
        _choices(first) if floats else first.astype(np.int64),
        _guesses(arrays[0], samples),
    )


def compare(answers: Answers, reference: Answers) -> Difference:
    """How far answers are from those of a reference.

    Whole numbers count as one-hot vectors: one energy for each value, two for each that differs. Where the
    reference is infinite, nothing is compared: there is no energy in a mask.
    """
    if reference.discrete:
        count = np.full(len(reference.values), float(reference.values.shape[1]))
        equal = (answers.values == reference.values).sum(axis=1)
        return Difference(equal / np.maximum(count, 1), count, 2 * (count - equal))
    finite = np.isfinite(reference.values)
    wanted = np.where(finite, np.clip(reference.values, -_LARGEST, _LARGEST), 0.0).astype(np.float64)
    seen = np.where(finite, np.clip(answers.values, -_LARGEST, _LARGEST), 0.0).astype(np.float64)
    signal, loudness = np.vecdot(wanted, wanted), np.vecdot(seen, seen)
    lengths = np.sqrt(signal) * np.sqrt(loudness)
    silent = (signal == 0) & (loudness == 0)
    cosine = np.where(silent, 1.0, np.vecdot(wanted, seen) / np.where(lengths, lengths, 1.0))
    seen -= wanted
    return Difference(np.clip(cosine, -1.0, 1.0), signal, np.vecdot(seen, seen))


def _array(output: torch.Tensor) -> NDArray[Any]:
    """As numpy knows it, which has no bfloat16; and halves overflow when they are squared."""
    half = output.dtype in {torch.bfloat16, torch.float16}
    array: NDArray[Any] = (output.float() if half else output).contiguous().numpy()
    return array


def _rows(stated: Output, array: NDArray[Any], samples: int) -> NDArray[Any]:
    """[samples, values] of an output of any shape, wherever its batch axis is."""
    axis = stated.shape.index(None) if None in stated.shape else None
    if axis is None or array.shape[axis] % samples:
        return np.broadcast_to(array.reshape(1, -1), (samples, array.size))
    return np.moveaxis(array, axis, 0).reshape(samples, -1)


def _choices(array: NDArray[Any]) -> NDArray[np.int64] | None:
    if not array.ndim or array.shape[-1] < 2 or not array.size:  # noqa: PLR2004 - one value is no choice
        return None
    chosen: NDArray[np.int64] = array.argmax(axis=-1)
    return chosen


def _guesses(first: NDArray[Any], samples: int) -> NDArray[np.int64] | None:
    """As ``common.self_test`` reads the first output for an acceptance test."""
    seen = first if first.dtype.kind in "iu" or not first.size else first.argmax(axis=-1)
    return seen.astype(np.int64) if np.shape(seen) == (samples,) else None
