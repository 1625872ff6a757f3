from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import InvalidInputError
from server.cli.sample_files import read_acceptance, read_calibration, read_evaluation
from server.client.publication import Labelled

LABELLED = pytest.mark.parametrize("read", [read_acceptance, read_evaluation])
EVERY = pytest.mark.parametrize("read", [read_acceptance, read_evaluation, read_calibration])


@LABELLED
def test_labels_and_inputs_are_told_apart(tmp_path: Path, read: Callable[[Path], Labelled]) -> None:
    np.savez(tmp_path / "a.npz", labels=np.array([1, 2], np.uint8), image=np.zeros((2, 3), np.float32))
    labelled = read(tmp_path / "a.npz")
    assert labelled.labels.dtype == np.int64
    assert labelled.labels.tolist() == [1, 2]
    assert list(labelled.inputs) == ["image"]


def test_calibration_has_inputs_alone(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", ids=np.array([1, 2], np.uint8), mask=np.zeros((2, 3), np.float32))
    assert list(read_calibration(tmp_path / "a.npz")) == ["ids", "mask"]
    np.savez(tmp_path / "a.npz")
    with pytest.raises(InvalidInputError, match="holds no arrays"):
        read_calibration(tmp_path / "a.npz")


@EVERY
def test_a_missing_file_is_named(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.npz cannot be read"):
        read(tmp_path / "none.npz")
    with pytest.raises(InvalidInputError, match="cannot be read"):
        read(tmp_path)


@EVERY
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut short", b"neither", b"\x93NUMPY\x01\x00"])
def test_what_is_no_npz_is_refused(tmp_path: Path, read: Callable[[Path], Any], data: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match=r"no \.npz"):
        read(path)


@EVERY
def test_a_single_array_is_refused(tmp_path: Path, read: Callable[[Path], Any]) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(InvalidInputError, match=r"no \.npz"):
        read(tmp_path / "a.npy")


@EVERY
@pytest.mark.parametrize("name", ["labels", "image"])
def test_pickled_objects_are_refused(tmp_path: Path, read: Callable[[Path], Any], name: str) -> None:
    arrays: dict[str, Any] = {"labels": np.zeros(1, np.int64), "image": np.zeros((1, 2))}
    np.savez(tmp_path / "a.npz", **(arrays | {name: np.array([{}], object)}))
    with pytest.raises(InvalidInputError, match="plain arrays"):
        read(tmp_path / "a.npz")


@LABELLED
@pytest.mark.parametrize(
    "labels", [np.zeros(2), np.zeros((2, 1), np.int64), np.array(["a", "b"]), np.zeros((), np.int64)]
)
def test_labels_are_one_integer_per_sample(
    tmp_path: Path, read: Callable[[Path], Labelled], labels: NDArray[Any]
) -> None:
    np.savez(tmp_path / "a.npz", labels=labels, image=np.zeros((2, 3)))
    with pytest.raises(InvalidInputError, match=r"The labels in .*a\.npz"):
        read(tmp_path / "a.npz")


@LABELLED
@pytest.mark.parametrize("names", [["labels"], ["image"], []])
def test_labels_and_inputs_are_both_needed(
    tmp_path: Path, read: Callable[[Path], Labelled], names: list[str]
) -> None:
    arrays: dict[str, Any] = dict.fromkeys(names, np.zeros(2, np.int64))
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidInputError, match="no labels, or nothing else"):
        read(tmp_path / "a.npz")
