"""The self-test of a version: what its own blobs answer to the samples, at each level."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.self_test import MAX_PREFIX, MAX_SAMPLES, SelfTest, rows_of
from server.quantize.samples import Samples

Inputs: TypeAlias = tuple[NDArray[Any], ...]
# Level and inputs to the outputs at that level.
Answer: TypeAlias = Callable[[int, Inputs], tuple[NDArray[Any], ...]]


def make_self_test(
    samples: Samples, levels: Sequence[int], answer: Answer, *, min_agreement: float, target_bytes: int
) -> SelfTest:
    """A self-test of about the target's size, or the least that one sample takes.

    An acceptance test keeps all its samples, and saves on the numbers that are expected of them. Else there
    are as many samples as the target has room for.

    Raises:
        InvalidInputError: An agreement is asked for without labels, or the model yields NaN.
    """
    if samples.labels is None and min_agreement:
        raise InvalidInputError(
            f"An agreement of {min_agreement:g} is asked for, and there are no labels.",
            advice="Give labels, or no agreement.",
        )
    if samples.labels is not None:
        inputs, first = samples.inputs, answer(levels[0], samples.inputs)
        room_bytes = target_bytes - _row_bytes(inputs) * samples.count
    else:
        inputs, first = _as_many_as_fit(samples.inputs, levels, answer, target_bytes)
        room_bytes = target_bytes
    rows = max(1, room_bytes // max(1, _expected_row_bytes(first, levels, len(inputs[0]))))
    outputs = {level: answer(level, inputs) for level in levels[1:]} | {levels[0]: first}
    return SelfTest(
        inputs=inputs,
        expected={level: _expected(level, outputs[level], len(inputs[0]), rows) for level in levels},
        labels=samples.labels,
        min_agreement=min_agreement,
    )


def _as_many_as_fit(
    inputs: Inputs, levels: Sequence[int], answer: Answer, target_bytes: int
) -> tuple[Inputs, tuple[NDArray[Any], ...]]:
    """The first samples that the target has room for, with their outputs at the lowest level."""
    sample_bytes = _row_bytes(inputs)
    inputs = _first(inputs, target_bytes // max(1, sample_bytes))
    outputs = answer(levels[0], inputs)
    expected_bytes = _expected_row_bytes(outputs, levels, len(inputs[0]))
    count = max(1, target_bytes // max(1, sample_bytes + expected_bytes))
    if count >= len(inputs[0]):
        return inputs, outputs
    inputs = _first(inputs, count)
    return inputs, answer(levels[0], inputs)


def _row_bytes(arrays: Sequence[NDArray[Any]]) -> int:
    return sum(array[:1].nbytes for array in arrays)


def _expected_row_bytes(outputs: Sequence[NDArray[Any]], levels: Sequence[int], samples: int) -> int:
    return len(levels) * _row_bytes([_first_values(output, samples) for output in outputs])


def _first(inputs: Inputs, count: int) -> Inputs:
    return tuple(array[: min(max(count, 1), MAX_SAMPLES)] for array in inputs)


def _first_values(output: NDArray[Any], samples: int) -> NDArray[np.float32]:
    return rows_of(output, samples)[:, :MAX_PREFIX]


def _expected(
    level: int, outputs: Sequence[NDArray[Any]], samples: int, rows: int
) -> tuple[NDArray[np.float32], ...]:
    expected = tuple(_first_values(output, samples)[:rows] for output in outputs)
    for index, values in enumerate(expected):
        if np.isnan(values).any():
            raise InvalidInputError(
                f"Output {index} of the model is NaN for a sample at {level} bits.",
                advice="Give samples that the model can answer, or leave out the lowest level.",
            )
    return expected
