"""Requests joined, answers split, and models that must not be batched."""

from __future__ import annotations

import gc
from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.errors import InvalidInputError
from device_agent.inference.answering import Answer, TensorSpec
from device_agent.serving.queueing.batch import join, kind_of, split
from device_agent.serving.queueing.running import Runner
from device_agent.serving.queueing.trial import Trials, Verdict
from tests.support.serving import FLOAT, Doubler, Mixer


def rows(*values: float) -> dict[str, NDArray[np.float32]]:
    return {"x": np.array([[value, value + 1, 0] for value in values], np.float32)}


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_joined_and_split_again_is_what_it_was(sizes: list[int]) -> None:
    requests: list[dict[str, NDArray[Any]]] = [
        {
            "x": np.random.default_rng(index).random((size, 3), np.float32),
            "n": np.full((size,), index, np.int64),
        }
        for index, size in enumerate(sizes)
    ]
    answers = split(Answer(join(requests), level=4), sizes)
    assert answers is not None
    for request, answer in zip(requests, answers, strict=True):
        assert answer.level == 4
        assert list(answer.outputs) == ["x", "n"]
        for name, array in request.items():
            np.testing.assert_array_equal(answer.outputs[name], array, strict=True)


def test_an_answer_without_a_row_for_each_is_not_split() -> None:
    assert split(Answer({"y": np.zeros((3, 1))}, level=4), [1, 1]) is None
    assert split(Answer({"y": np.zeros(())}, level=4), [1, 1]) is None


def test_kinds_agree_beyond_the_batch() -> None:
    model = Doubler()
    assert kind_of(model, rows(1)) == kind_of(model, rows(1, 2)) is not None
    assert kind_of(model, {"x": np.zeros((1, 4), np.float32)}) != kind_of(model, rows(1))
    assert kind_of(model, {"x": np.zeros((1, 3), np.float64)}) != kind_of(model, rows(1))
    assert kind_of(model, {"w": np.zeros((1, 3), np.float32)}) != kind_of(model, rows(1))


def test_a_fixed_batch_or_inputs_that_disagree_have_no_kind() -> None:
    assert kind_of(Doubler(batch=1), rows(1)) is None
    scalar = Doubler()
    scalar.outputs = (TensorSpec("y", FLOAT, ()), scalar.outputs[1])
    assert kind_of(scalar, rows(1)) is None
    assert kind_of(Doubler(), {**rows(1), "w": np.zeros((2, 3), np.float32)}) is None
    assert kind_of(Doubler(), {}) is None


def test_a_model_shares_batches_once_it_was_seen_to_answer_the_same() -> None:
    runner, model = Runner(), Doubler()
    outcomes, runs = runner.run(model, [rows(1), rows(2, 3), rows(4)])
    assert [run.rows for run in runs] == [1, 2, 1, 3]
    outcomes, runs = runner.run(model, [rows(1), rows(2, 3), rows(4)])
    assert [run.rows for run in runs] == [4]
    assert [outcome.outputs["y"][0, 0] for outcome in outcomes if isinstance(outcome, Answer)] == [2, 4, 8]


def test_requests_that_are_alike_prove_nothing() -> None:
    runner, model = Runner(), Mixer()
    for _ in range(5):
        _, runs = runner.run(model, [rows(1), rows(1)])
        assert [run.rows for run in runs] == [1, 1, 2]


def test_a_model_that_mixes_rows_is_tried_three_times() -> None:
    runner, model = Runner(), Mixer()
    tried = [len(runner.run(model, [rows(1), rows(2)])[1]) for _ in range(5)]
    assert tried == [3, 3, 3, 2, 2]


def test_a_bad_request_is_no_trial_and_fails_alone() -> None:
    runner, model = Runner(), Doubler()
    for _ in range(5):
        outcomes, _ = runner.run(model, [rows(-1), rows(2)])
        assert isinstance(outcomes[0], InvalidInputError)
        assert isinstance(outcomes[1], Answer)
    runner.run(model, [rows(1), rows(2)])
    outcomes, runs = runner.run(model, [rows(1), rows(-2), rows(3)])
    assert [type(outcome) for outcome in outcomes] == [Answer, InvalidInputError, Answer]
    assert [run.rows for run in runs] == [1, 1]


def test_a_batch_that_does_not_fit_in_memory_is_asked_one_by_one() -> None:
    class Small(Doubler):
        def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Answer:
            if len(inputs["x"]) > 2:
                raise MemoryError
            return super().infer(inputs)

    runner, model = Runner(), Small()
    for _ in range(2):
        outcomes, _ = runner.run(model, [rows(1), rows(2), rows(3)])
        assert all(isinstance(outcome, Answer) for outcome in outcomes)


def test_nothing_is_kept_of_a_version_that_is_gone() -> None:
    trials, model = Trials(), Doubler()
    answers = [model.infer(rows(value)) for value in (1, 2)]
    trials.judge(model, [rows(1), rows(2)], answers, answers)
    assert trials.verdict(model) is Verdict.APART
    del model
    gc.collect()
    assert len(trials._apart) == 0
