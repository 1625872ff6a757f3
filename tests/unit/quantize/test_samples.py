"""Samples are read as given, or refused with what is wrong."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from common.errors import InvalidInputError
from server.quantize.samples import Samples, read_samples

PIXELS = np.random.default_rng(0).random((4, 3), np.float32)
TOKENS = np.arange(8).reshape(4, 2)


def written(folder: Path, arrays: dict[str, NDArray[Any]]) -> Path:
    path = folder / "samples.safetensors"
    safetensors.numpy.save_file(arrays, path)
    return path


def test_samples_come_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    labels = np.array([1, 2, 3, 4], np.int32)
    path = written(tmp_path, {"input/1": TOKENS, "input/0": PIXELS, "labels": labels})
    samples = read_samples(path)
    np.testing.assert_array_equal(samples.inputs[0], PIXELS)
    np.testing.assert_array_equal(samples.inputs[1], TOKENS)
    assert samples.labels is not None
    assert samples.labels.dtype == np.int64
    assert samples.labels.tolist() == [1, 2, 3, 4]
    assert samples.count == 4
    assert read_samples(written(tmp_path, {"input/0": PIXELS})).labels is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({}, "axis 0"),
        ({"input/0": np.zeros((0, 3))}, "axis 0"),
        ({"input/0": np.zeros(())}, "axis 0"),
        ({"input/0": PIXELS, "input/1": TOKENS[:3]}, "axis 0"),
        ({"input/1": PIXELS}, "Name them input/0"),
        ({"input/0": PIXELS, "other": TOKENS}, "Name them input/0"),
        ({"input/0": PIXELS, "labels": np.zeros(3, np.int64)}, "one whole number per sample"),
        ({"input/0": PIXELS, "labels": np.zeros(4, np.float32)}, "one whole number per sample"),
    ],
)
def test_unsound_samples_are_refused(tmp_path: Path, arrays: dict[str, NDArray[Any]], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        read_samples(written(tmp_path, arrays))


@pytest.mark.parametrize("data", [b"", b"hello", b"PK\x03\x04", b"\xff" * 99, b"\x80\x04cos\nsystem\n."])
def test_a_file_that_is_no_container_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "samples.safetensors"
    path.write_bytes(data)
    with pytest.raises(InvalidInputError, match="The calibration samples are no safetensors file"):
        read_samples(path, what="calibration samples")


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E5M2", "F8_E8M0", "C64", "F4", "X9"])
def test_a_type_that_no_input_has_is_refused(tmp_path: Path, dtype: str) -> None:
    header = json.dumps({"input/0": {"dtype": dtype, "shape": [2, 1], "data_offsets": [0, 4]}}).encode()
    path = tmp_path / "samples.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(InvalidInputError, match="no safetensors file"):
        read_samples(path)


def test_many_samples_without_labels_are_fine() -> None:
    assert Samples((np.zeros((100, 2)),)).count == 100
