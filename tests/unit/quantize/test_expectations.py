"""A self-test fits its target, covers acceptance samples whole, and refuses what cannot be compared."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.self_test import SelfTest
from server.quantize.expectations import Inputs, make_self_test
from server.quantize.samples import Samples

LEVELS = (4, 8)
KIB = 1024


class Model:
    """Answers with ``width`` values per sample, scaled by the level; notes what it was asked."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.asked: list[tuple[int, int]] = []

    def __call__(self, level: int, inputs: Inputs) -> tuple[NDArray[Any], ...]:
        self.asked.append((level, len(inputs[0])))
        rows = np.arange(1.0, len(inputs[0]) + 1, dtype=np.float32)
        return (np.outer(rows, np.full(self.width, level)).astype(np.float32),)


def some_samples(count: int, width: int, *, labelled: bool = False) -> Samples:
    inputs = np.zeros((count, width), np.float32)
    return Samples((inputs,), np.zeros(count, np.int64) if labelled else None)


def size_bytes(self_test: SelfTest) -> int:
    expected = [array for outputs in self_test.expected.values() for array in outputs]
    return sum(array.nbytes for array in (*self_test.inputs, *expected))


def test_small_samples_are_all_kept_up_to_the_limit() -> None:
    model = Model(10)
    self_test = make_self_test(some_samples(100, 4), LEVELS, model, min_agreement=0, target_bytes=64 * KIB)
    assert self_test.samples == 64
    assert model.asked == [(4, 64), (8, 64)]
    for level in LEVELS:
        np.testing.assert_array_equal(self_test.expected[level][0], Model(10)(level, self_test.inputs)[0])


@pytest.mark.parametrize(("sample_width", "output_width"), [(1000, 10), (4, 900), (500, 500), (4, 5000)])
def test_larger_samples_are_cut_to_the_target(sample_width: int, output_width: int) -> None:
    model = Model(output_width)
    self_test = make_self_test(
        some_samples(64, sample_width), LEVELS, model, min_agreement=0, target_bytes=64 * KIB
    )
    assert 1 <= self_test.samples < 64
    assert 32 * KIB < size_bytes(self_test) <= 64 * KIB
    assert self_test.expected[8][0].shape == (self_test.samples, min(output_width, 1024))


def test_one_sample_stays_even_where_it_exceeds_the_target() -> None:
    self_test = make_self_test(
        some_samples(8, 50_000), LEVELS, Model(10), min_agreement=0, target_bytes=64 * KIB
    )
    assert self_test.samples == 1


def test_acceptance_samples_stay_whole_and_expectations_give_way() -> None:
    samples = some_samples(64, 4, labelled=True)
    self_test = make_self_test(samples, LEVELS, Model(900), min_agreement=0.5, target_bytes=64 * KIB)
    assert self_test.samples == 64
    assert self_test.labels is samples.labels
    assert self_test.min_agreement == 0.5
    assert 1 <= len(self_test.expected[4][0]) < 64
    assert size_bytes(self_test) <= 64 * KIB


def test_an_agreement_without_labels_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="no labels"):
        make_self_test(some_samples(4, 4), LEVELS, Model(10), min_agreement=0.9, target_bytes=64 * KIB)


def test_a_model_that_answers_nan_is_refused() -> None:
    def broken(level: int, inputs: Inputs) -> tuple[NDArray[Any], ...]:
        return (np.full((len(inputs[0]), 3), np.nan if level == 4 else 0, np.float32),)

    with pytest.raises(InvalidInputError, match="Output 0 of the model is NaN for a sample at 4 bits"):
        make_self_test(some_samples(4, 4), LEVELS, broken, min_agreement=0, target_bytes=64 * KIB)
