from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch

from common.errors import InvalidInputError
from common.graph.model import Graph, Input
from server.client.publication import Acceptance, Arrays, Evaluation, Publication
from server.client.samples import write_sample_files

ONE = Graph((Input("image", "float32", (None, 2)),), (), (), ())
TWO = Graph((Input("ids", "int64", (None, 3)), Input("mask", "int64", (None, 3))), (), (), ())
LABELS = np.array([1, 0], np.int64)
EXAMPLE = np.zeros((1, 2), np.float32)


def written(
    folder: Path, graph: Graph, examples: Arrays, acceptance: Acceptance | None = None
) -> dict[str, Any]:
    publication = Publication("digits", acceptance=acceptance)
    files = write_sample_files(folder, graph, examples, publication)
    assert (files.calibration, files.evaluation) == (None, None)
    return dict(safetensors.numpy.load_file(files.samples))


def test_examples_become_the_self_tests_inputs(tmp_path: Path) -> None:
    arrays = written(tmp_path, ONE, (torch.ones(3, 2, requires_grad=True),))
    assert list(arrays) == ["input/0"]
    assert arrays["input/0"].tolist() == [[1.0, 1.0]] * 3


def test_as_many_examples_are_taken_as_a_self_test_may_have(tmp_path: Path) -> None:
    images = np.arange(200, dtype=np.float32).reshape(100, 2)
    assert np.array_equal(written(tmp_path, ONE, [images])["input/0"], images[:64])


def test_names_put_inputs_in_the_graphs_order(tmp_path: Path) -> None:
    given = {"mask": np.ones((1, 3), np.int32), "ids": np.full((1, 3), 7)}
    arrays = written(tmp_path, TWO, given)
    assert arrays["input/0"].tolist() == [[7, 7, 7]]
    assert arrays["input/1"].dtype == np.int64


@pytest.mark.parametrize("inputs", [np.zeros((2, 2)), [np.zeros((2, 2))], {"anything": np.zeros((2, 2))}])
def test_a_single_input_needs_no_name(tmp_path: Path, inputs: Arrays) -> None:
    arrays = written(tmp_path, ONE, [], Acceptance(inputs, LABELS))
    assert arrays["input/0"].dtype == np.float32
    assert arrays["labels"].tolist() == [1, 0]


def test_a_view_with_strides_is_written_as_it_reads(tmp_path: Path) -> None:
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert np.array_equal(written(tmp_path, ONE, [transposed])["input/0"], transposed)


@pytest.mark.parametrize(
    ("graph", "acceptance", "message"),
    [
        (TWO, Acceptance([np.zeros((2, 3))], LABELS), "takes the inputs"),
        (TWO, Acceptance({"ids": np.zeros((2, 3)), "x": np.zeros((2, 3))}, LABELS), "takes the inputs"),
        (TWO, Acceptance([np.zeros((2, 3))] * 2, LABELS), "is float64, expected int64"),
        (ONE, Acceptance([np.zeros((2, 9))], LABELS), r"has the shape \[2, 9\], expected \[batch, 2\]"),
        (ONE, Acceptance([np.zeros((3, 2))], LABELS), "2 labels for 3 acceptance samples"),
        (ONE, Acceptance([np.zeros((65, 2))], np.zeros(65, np.int64)), "65 acceptance samples and 64"),
    ],
)
def test_samples_that_do_not_fit_are_refused(
    tmp_path: Path, graph: Graph, acceptance: Acceptance, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        written(tmp_path, graph, [], acceptance)
    assert not list(tmp_path.iterdir())


def test_calibration_and_evaluation_get_files_of_their_own(tmp_path: Path) -> None:
    publication = Publication(
        "digits",
        rounding="calibrated",
        calibration=torch.ones(512, 2, dtype=torch.float64),
        evaluation=Evaluation({"any": np.zeros((100, 2))}, [7] * 100),  # type: ignore[arg-type]
    )
    files = write_sample_files(tmp_path, ONE, [EXAMPLE], publication)
    assert files.calibration is not None
    assert files.evaluation is not None
    calibration = safetensors.numpy.load_file(files.calibration)
    evaluation = safetensors.numpy.load_file(files.evaluation)
    assert {name: array.shape for name, array in calibration.items()} == {"input/0": (512, 2)}
    assert calibration["input/0"].dtype == np.float32
    assert {name: array.shape for name, array in evaluation.items()} == {
        "input/0": (100, 2),
        "labels": (100,),
    }
    assert evaluation["labels"].dtype == np.int64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"calibration": np.zeros((2, 9))}, r"calibration samples do not fit .* \[2, 9\]"),
        ({"calibration": np.zeros((2, 2), np.complex64)}, "is complex64, expected float32"),
        ({"calibration": np.zeros((513, 2))}, "513 calibration samples and 512"),
        ({"calibration": np.array([[0, 0], [1, np.nan]])}, "Sample 1 of the calibration .* 'image'"),
        ({"calibration": np.array([[0, 1e300]])}, "Sample 0 of the calibration .* infinity"),
        ({"calibration": np.zeros((0, 2))}, "calibration samples need .* at least 1"),
        ({"calibration": np.zeros(())}, "axis 0"),
        ({"calibration": []}, "takes the inputs"),
        ({"calibration": {"image": EXAMPLE, "labels": LABELS}}, "takes the inputs"),
        ({"evaluation": Evaluation(np.zeros((2, 9)), LABELS)}, r"evaluation samples do not fit .* \[2, 9\]"),
        ({"evaluation": Evaluation(np.zeros((3, 2)), LABELS)}, "2 labels for 3 evaluation samples"),
        ({"evaluation": Evaluation(np.zeros((2, 2)), -LABELS)}, "Label 0 .* is -1"),
        ({"evaluation": Evaluation(np.full((2, 2), np.inf), LABELS)}, "Sample 0 of the evaluation"),
        (
            {"evaluation": Evaluation(np.zeros((10_001, 2)), np.zeros(10_001, np.int64))},
            "10001 evaluation samples and 10000",
        ),
    ],
)
def test_samples_that_cannot_be_used_are_refused(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        write_sample_files(tmp_path, ONE, [EXAMPLE], Publication("digits", **options))
