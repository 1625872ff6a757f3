"""Outputs of any shape as one row per sample, and how two models' rows differ; all figures by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.errors import InvalidInputError
from common.graph.model import Output, Shape, ValueRef
from server.quantize.fidelity.answers import Answers, compare, read_answers

INF = math.inf
_ROWS = hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32))


def stated(name: str, shape: Shape, dtype: str = "float32") -> Output:
    return Output(name, ValueRef(name), dtype, shape)


def answers(values: Any) -> Answers:
    return Answers(np.asarray(values), None, None)


def test_float_outputs_of_a_sample_stand_side_by_side_wherever_the_batch_axis_is() -> None:
    first = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    turned = torch.tensor([[5.0, 6.0], [7.0, 8.0], [9.0, 10.0]])
    ids = torch.tensor([[7], [8]])
    outputs = (stated("ids", (None, 1), "int64"), stated("a", (None, 2)), stated("b", (3, None)))
    read = read_answers(outputs, (ids, first, turned), 2, where="in floats")
    assert read.values.tolist() == [[1, 2, 5, 7, 9], [3, 4, 6, 8, 10]]
    assert read.choices is not None
    assert read.choices.tolist() == [1, 1]


def test_an_output_without_a_batch_axis_belongs_to_every_sample() -> None:
    outputs = (stated("scores", (None, 2)), stated("norm", ()), stated("table", (2,)))
    tensors = (torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor(5.0), torch.tensor([6.0, 7.0]))
    read = read_answers(outputs, tensors, 2, where="in floats")
    assert read.values.tolist() == [[1, 2, 5, 6, 7], [3, 4, 5, 6, 7]]


def test_a_batch_axis_that_grows_with_the_batch_is_shared_out_and_an_odd_one_is_nobodys() -> None:
    doubled = read_answers((stated("a", (None, 1)),), (torch.arange(4.0).view(4, 1),), 2, where="")
    assert doubled.values.tolist() == [[0, 1], [2, 3]]
    odd = read_answers((stated("a", (None,)),), (torch.arange(3.0),), 2, where="")
    assert odd.values.tolist() == [[0, 1, 2], [0, 1, 2]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_compared_too(dtype: torch.dtype) -> None:
    read = read_answers((stated("a", (None, 1)),), (torch.full((1, 1), 300.0, dtype=dtype),), 1, where="")
    difference = compare(read, answers([[400.0]]))
    assert (difference.signal[0], difference.error[0]) == (160_000, 10_000)


def test_whole_numbers_count_where_there_are_no_floats() -> None:
    ids = torch.tensor([[1, 2, 3, 4], [1, 2, 3, 4]])
    read = read_answers((stated("ids", (None, 4), "int64"),), (ids,), 2, where="")
    assert read.discrete
    difference = compare(answers(np.array([[1, 2, 3, 4], [1, 0, 0, 0]])), read)
    assert difference.cosine.tolist() == [1.0, 0.25]
    assert difference.relative().tolist() == [0.0, 1.5]
    assert read.choices is not None
    assert read.choices.shape == (2, 4)


@pytest.mark.parametrize("shape", [(2, 1), (2, 0)])
def test_an_axis_without_two_values_leaves_no_choice(shape: tuple[int, int]) -> None:
    assert read_answers((stated("a", (None, 1)),), (torch.ones(shape),), 2, where="").choices is None


def test_labels_are_compared_as_the_acceptance_test_does() -> None:
    scores = torch.tensor([[0.0, 1.0], [1.0, 0.0]])
    ids = torch.tensor([3, 4], dtype=torch.int32)
    outputs = stated("scores", (None, 2)), stated("ids", (None,), "int32")
    by_scores = read_answers(outputs, (scores, ids), 2, where="").guesses
    by_ids = read_answers(outputs[::-1], (ids, scores), 2, where="").guesses
    assert by_scores is not None
    assert by_scores.tolist() == [1, 0]
    assert by_ids is not None
    assert by_ids.tolist() == [3, 4]
    sequence = read_answers((stated("a", (None, 3, 2)),), (torch.ones(2, 3, 2),), 2, where="")
    assert sequence.guesses is None


def test_a_nan_names_the_output_and_what_ran() -> None:
    outputs = (stated("scores", (None, 1)),)
    with pytest.raises(InvalidInputError, match="Output 'scores' of the model is NaN for a sample at 4 bits"):
        read_answers(outputs, (torch.tensor([[1.0], [math.nan]]),), 2, where="at 4 bits")


def test_cosine_and_energies_are_those_of_each_sample() -> None:
    difference = compare(
        answers([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]]), answers([[3.0, 4.0], [2.0, 0.0], [1.0, 0.0]])
    )
    assert difference.cosine.tolist() == [1.0, 0.0, -1.0]
    assert difference.signal.tolist() == [25.0, 4.0, 1.0]
    assert difference.error.tolist() == [0.0, 8.0, 4.0]
    assert difference.relative().tolist() == [0.0, 2.0, 4.0]


def test_silence_is_like_silence_and_unlike_anything_else() -> None:
    difference = compare(answers([[0.0, 0.0], [0.0, 3.0]]), answers([[0.0, 0.0], [0.0, 0.0]]))
    assert difference.cosine.tolist() == [1.0, 0.0]
    assert difference.relative().tolist() == [0.0, 9.0]


def test_where_the_reference_is_infinite_nothing_is_compared() -> None:
    difference = compare(answers([[1.0, -INF, 5.0]]), answers([[1.0, -INF, INF]]))
    assert (difference.cosine[0], difference.error[0]) == (1.0, 0.0)


def test_infinity_in_place_of_a_number_is_as_wrong_as_can_be_and_still_a_number() -> None:
    difference = compare(answers([[1.0, INF]]), answers([[1.0, 0.0]]))
    assert difference.cosine[0] < 1e-30
    assert 1e70 < difference.error[0] < INF


@given(_ROWS, _ROWS)
def test_cosines_are_within_bounds_and_no_error_means_equal(ours: Any, wanted: Any) -> None:
    difference = compare(answers(ours), answers(wanted))
    assert (abs(difference.cosine) <= 1).all()
    same = (ours == wanted).all(axis=1)
    assert ((difference.error == 0) == same).all()
    assert (difference.cosine[same] > 1 - 1e-6).all()


def test_answers_share_no_memory_with_the_outputs() -> None:
    tensor = torch.ones(2, 2)
    read = read_answers((stated("a", (None, 2)),), (tensor,), 2, where="")
    tensor.zero_()
    assert read.values.tolist() == [[1, 1], [1, 1]]
