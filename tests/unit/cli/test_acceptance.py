from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import InvalidInputError
from server.cli.acceptance import read_acceptance


def test_labels_and_inputs_are_told_apart(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", labels=np.array([1, 2], np.uint8), image=np.zeros((2, 3), np.float32))
    acceptance = read_acceptance(tmp_path / "a.npz")
    assert acceptance.labels.dtype == np.int64
    assert acceptance.labels.tolist() == [1, 2]
    assert list(acceptance.inputs) == ["image"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"none\.npz cannot be read"):
        read_acceptance(tmp_path / "none.npz")


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut short", b"neither", b"\x93NUMPY\x01\x00"])
def test_what_is_no_npz_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    with pytest.raises(InvalidInputError):
        read_acceptance(path)


def test_a_single_array_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    with pytest.raises(InvalidInputError, match=r"no \.npz"):
        read_acceptance(tmp_path / "a.npy")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", labels=np.array([{}], object), allow_pickle=True)
    with pytest.raises(InvalidInputError, match="plain arrays"):
        read_acceptance(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "labels", [np.zeros(2), np.zeros((2, 1), np.int64), np.array(["a", "b"]), np.zeros((), np.int64)]
)
def test_labels_are_one_integer_per_sample(tmp_path: Path, labels: NDArray[Any]) -> None:
    np.savez(tmp_path / "a.npz", labels=labels, image=np.zeros((2, 3)))
    with pytest.raises(InvalidInputError, match="The labels in"):
        read_acceptance(tmp_path / "a.npz")


@pytest.mark.parametrize("names", [["labels"], ["image"], []])
def test_labels_and_inputs_are_both_needed(tmp_path: Path, names: list[str]) -> None:
    arrays: dict[str, Any] = dict.fromkeys(names, np.zeros(2, np.int64))
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(InvalidInputError, match="no labels, or nothing else"):
        read_acceptance(tmp_path / "a.npz")
