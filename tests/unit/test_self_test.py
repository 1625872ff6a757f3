"""A self-test comes back as it went, passes on right answers and fails on wrong ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.blob_codec import encode_arrays
from common.errors import IntegrityError, InvalidInputError, SelfTestError
from common.self_test import MAX_SAMPLES, SelfTest, check, decode, encode, rows_of

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(4, 10)).astype(np.float32)
LEVELS = (4, 8)


def a_self_test(**changes: Any) -> SelfTest:
    whole = SelfTest(
        inputs=(RNG.normal(size=(4, 1, 8, 8)).astype(np.float32), np.arange(8).reshape(4, 2)),
        expected={4: (LOGITS + 1,), 8: (LOGITS,)},
        labels=LOGITS.argmax(axis=-1),
        min_agreement=0.9,
    )
    return replace(whole, **changes)


def arrays_of(self_test: SelfTest) -> dict[str, NDArray[Any]]:
    return {
        **{f"input/{i}": array for i, array in enumerate(self_test.inputs)},
        **{f"expected/{level}/0": outputs[0] for level, outputs in self_test.expected.items()},
        "min_agreement": np.array([0.9]),
        "tolerance": np.array([1e-3]),
    }


def test_a_self_test_comes_back_equal() -> None:
    whole = a_self_test()
    back = decode(*encode(whole), LEVELS)
    for before, after in zip(whole.inputs, back.inputs, strict=True):
        np.testing.assert_array_equal(after, before)
        assert after.dtype == before.dtype
    for level in LEVELS:
        np.testing.assert_array_equal(back.expected[level][0], whole.expected[level][0])
    assert whole.labels is not None
    assert back.labels is not None
    np.testing.assert_array_equal(back.labels, whole.labels)
    assert (back.min_agreement, back.tolerance) == (whole.min_agreement, whole.tolerance)
    assert decode(*encode(a_self_test(labels=None)), LEVELS).labels is None


def test_equal_self_tests_give_equal_bytes() -> None:
    whole = a_self_test()
    assert encode(whole) == encode(whole)


@pytest.mark.parametrize(
    "changes",
    [
        {"inputs": ()},
        {"inputs": (np.zeros((MAX_SAMPLES + 1, 2), np.float32),)},
        {"inputs": (np.zeros((0, 2), np.float32),)},
        {"inputs": (np.zeros((), np.float32),)},
        {"inputs": (np.zeros((4, 2)), np.zeros((3, 2)))},
        {"inputs": (np.zeros((4, 1 << 20), np.uint8), np.zeros((4, 2)))},
        {"labels": np.zeros(3, np.int64)},
        {"labels": np.zeros(4, np.int32)},
        {"min_agreement": 1.1},
        {"min_agreement": float("nan")},
        {"tolerance": 0.0},
        {"expected": {}},
        {"expected": {4: (), 8: ()}},
        {"expected": {4: (LOGITS,), 8: ()}},
        {"expected": {4: (LOGITS.astype(np.float64),), 8: (LOGITS,)}},
        {"expected": {4: (LOGITS * np.float32("nan"),), 8: (LOGITS,)}},
    ],
)
def test_an_unsound_self_test_is_not_encoded(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match="cannot be sent"):
        encode(a_self_test(**changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"labels": np.zeros(3, np.int64)},
        {"tolerance": np.zeros(2)},
        {"min_agreement": np.zeros(1, np.float32)},
        {"stray": np.zeros(1)},
        {"expected/6/0": LOGITS},
        {"expected/8/0": LOGITS[:, :3]},
        {"input/1": np.zeros((5, 2))},
    ],
)
def test_a_container_that_is_no_self_test_is_refused(changes: dict[str, NDArray[Any]]) -> None:
    arrays = arrays_of(a_self_test())
    decode(*encode_arrays(arrays, compress=True), LEVELS)
    with pytest.raises(IntegrityError, match="no self-test"):
        decode(*encode_arrays(arrays | changes, compress=True), LEVELS)


def test_a_missing_level_and_a_stated_bomb_are_refused() -> None:
    data, ref = encode(a_self_test())
    with pytest.raises(IntegrityError, match="every output and level"):
        decode(data, ref, (4, 6, 8))
    with pytest.raises(IntegrityError, match="are allowed"):
        decode(data, replace(ref, raw_size_bytes=1 << 30), LEVELS)


@given(data=st.binary(max_size=200))
def test_hostile_bytes_are_refused(data: bytes) -> None:
    _, ref = encode_arrays(arrays_of(a_self_test()), compress=False)
    with pytest.raises(IntegrityError):
        decode(data, replace(ref, size_bytes=len(data)), LEVELS)


def test_right_answers_pass() -> None:
    check(a_self_test(), 8, [LOGITS * np.float32(1 + 1e-5)])
    check(a_self_test(), 4, [LOGITS.astype(np.float64) + 1])


@pytest.mark.parametrize(
    "answer",
    [
        LOGITS * np.float32(1.01),
        LOGITS[:3],
        LOGITS[:, :9],
        LOGITS[0, 0],
        np.full_like(LOGITS, np.nan),
        np.full_like(LOGITS, np.inf),
    ],
)
def test_wrong_answers_fail(answer: NDArray[np.float32]) -> None:
    with pytest.raises(SelfTestError, match=r"Self-test at 8 bits: output 0 is off by .*; 0\.001 is allowed"):
        check(a_self_test(), 8, [answer])


def test_the_answer_of_another_level_fails() -> None:
    with pytest.raises(SelfTestError):
        check(a_self_test(), 4, [LOGITS])


def test_another_number_of_outputs_fails() -> None:
    with pytest.raises(SelfTestError, match="2 outputs where 1"):
        check(a_self_test(), 8, [LOGITS, LOGITS])


def test_labels_that_are_missed_fail_and_say_by_how_much() -> None:
    labels = LOGITS.argmax(axis=-1)
    labels[0] = (labels[0] + 1) % 10
    with pytest.raises(SelfTestError, match=r"label agreement 0\.75 where 0\.90 is asked"):
        check(a_self_test(labels=labels), 8, [LOGITS])
    check(a_self_test(labels=labels, min_agreement=0.75), 8, [LOGITS])


def test_labels_that_do_not_fit_the_output_fail() -> None:
    sequence = LOGITS.reshape(4, 2, 5)
    with pytest.raises(SelfTestError, match=r"agreement 0\.00"):
        check(a_self_test(expected={8: (LOGITS,)}), 8, [sequence])


def test_whole_numbers_are_compared_by_their_share() -> None:
    classes = np.arange(20).reshape(4, 5)
    whole = a_self_test(expected={8: (rows_of(classes, 4),)}, labels=None)
    nearly = classes.copy()
    nearly[0, 0] += 1
    check(whole, 8, [nearly])
    with pytest.raises(SelfTestError, match=r"off by 1; 0\.1"):
        check(whole, 8, [classes + 1])
    check(a_self_test(expected={8: (rows_of(classes[:, 0], 4),)}, labels=classes[:, 0]), 8, [classes[:, 0]])


def test_infinite_expectations_must_be_met_in_place() -> None:
    masked = LOGITS.copy()
    masked[0, 3] = -np.inf
    whole = a_self_test(expected={8: (masked,)}, labels=None)
    check(whole, 8, [masked])
    with pytest.raises(SelfTestError):
        check(whole, 8, [LOGITS])


def test_expectations_may_cover_the_first_rows_and_values_alone() -> None:
    whole = a_self_test(expected={8: (LOGITS[:2, :3],)})
    check(whole, 8, [LOGITS])
    wrong = LOGITS.copy()
    wrong[1, 2] += 1
    with pytest.raises(SelfTestError, match="output 0"):
        check(whole, 8, [wrong])


def test_an_output_without_batch_is_one_row() -> None:
    assert rows_of(np.zeros((3, 5)), 4).shape == (1, 15)
    assert rows_of(np.zeros(()), 4).shape == (1, 1)
    assert rows_of(np.zeros((4, 3, 5)), 4).shape == (4, 15)
