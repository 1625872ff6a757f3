"""What samples must be for the self-test, for calibration and for the fidelity report."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.model import Graph, Input
from server.quantize.sample_checks import (
    MAX_CALIBRATION_SAMPLES,
    MAX_EVALUATION_SAMPLES,
    check_calibration,
    check_evaluation,
    check_samples,
    check_self_test,
)
from server.quantize.samples import Samples

GRAPH = Graph(
    (Input("image", "float32", (None, 2)), Input("ids", "int64", (None, 3))),
    (),
    (),
    (),
)


def samples(count: int, *, labelled: bool = False) -> Samples:
    return Samples(
        (np.zeros((count, 2), np.float32), np.zeros((count, 3), np.int64)),
        np.zeros(count, np.int64) if labelled else None,
    )


def test_as_many_as_are_allowed_are_sound() -> None:
    check_samples(
        GRAPH,
        samples(64, labelled=True),
        calibration=samples(MAX_CALIBRATION_SAMPLES),
        evaluation=samples(MAX_EVALUATION_SAMPLES, labelled=True),
    )
    check_self_test(GRAPH, samples(1000))
    check_samples(GRAPH, samples(1))


@pytest.mark.parametrize(
    ("check", "given", "message"),
    [
        (check_self_test, samples(65, labelled=True), "65 acceptance samples and 64 are allowed"),
        (check_calibration, samples(513), "513 calibration samples and 512 are allowed"),
        (check_evaluation, samples(10_001, labelled=True), "10001 evaluation samples and 10000 are allowed"),
        (check_calibration, samples(3, labelled=True), "calibration samples have labels"),
        (check_evaluation, samples(3), "evaluation samples have no labels"),
        (check_evaluation, Samples(samples(3).inputs, np.array([0, 1, -1])), "Label 2 .* is -1"),
    ],
)
def test_too_many_samples_and_wrong_labels_are_refused(check: Any, given: Samples, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check(GRAPH, given)


@pytest.mark.parametrize("check", [check_self_test, check_calibration, check_evaluation])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({0: np.zeros((2, 9), np.float32)}, r"has the shape \[2, 9\], expected \[batch, 2\]"),
        ({0: np.zeros((2, 2), np.float64)}, "'image' is float64, expected float32"),
        ({1: np.zeros((2, 3), np.int32)}, "'ids' is int32, expected int64"),
        ({1: np.zeros((2, 0), np.int64)}, "expected"),
        ({2: np.zeros((2, 3), np.int64)}, "have 3 arrays"),
        ({1: None}, "have 1 arrays"),
    ],
)
def test_samples_that_the_graph_does_not_take_are_refused(
    check: Any, change: dict[int, NDArray[Any] | None], message: str
) -> None:
    arrays = dict(enumerate(samples(2).inputs)) | change
    inputs = tuple(array for array in arrays.values() if array is not None)
    labels = np.zeros(2, np.int64) if check is check_evaluation else None
    with pytest.raises(InvalidInputError, match=message):
        check(GRAPH, Samples(inputs, labels))


@given(
    count=st.integers(1, 200),
    place=st.integers(0, 199),
    value=st.sampled_from([np.nan, np.inf, -np.inf]),
    evaluated=st.booleans(),
)
def test_a_value_that_is_not_finite_names_the_input_and_the_sample(
    count: int, place: int, value: float, *, evaluated: bool
) -> None:
    broken = samples(count, labelled=evaluated)
    index = place % count
    broken.inputs[0][index, 1] = value
    broken.inputs[0][count - 1, 0] = value if index < count - 1 else 0.0
    check = check_evaluation if evaluated else check_calibration
    with pytest.raises(InvalidInputError, match=rf"Sample {index} of .* in input 'image'"):
        check(GRAPH, broken)


def test_largest_and_smallest_values_are_finite() -> None:
    extremes = samples(2)
    extremes.inputs[0][:] = [np.finfo(np.float32).max, np.finfo(np.float32).smallest_subnormal]
    check_calibration(GRAPH, extremes)
