"""Samples from ``.npz`` files: for acceptance, calibration and the fidelity report."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError
from server.cli.npz import read_npz
from server.client.labels import whole_numbers
from server.client.publication import Acceptance, Evaluation

_MIB: Final = 1024 * 1024
# Twice what a server takes where it is set up as it comes: files of float64 are cast before they are sent.
_MAX_ACCEPTANCE_BYTES: Final = 128 * _MIB
_MAX_CALIBRATION_BYTES: Final = 2048 * _MIB
_MAX_EVALUATION_BYTES: Final = 4096 * _MIB

_LABELS: Final = "labels"
_ADVICE: Final = "Write it so: numpy.savez(FILE, labels=labels, input=images), with labels of integers."
_ADVICE_UNLABELLED: Final = "Write it so: numpy.savez(FILE, input=images), without labels."


def read_acceptance(path: Path) -> Acceptance:
    """Labels and inputs of a file: the array ``labels``, and one array per model input under its name.

    Where the model has one input, its array may have any name.

    Raises:
        InvalidInputError: It is no such file.
    """
    return Acceptance(*_read_labelled(path, _MAX_ACCEPTANCE_BYTES))


def read_evaluation(path: Path) -> Evaluation:
    """Labels and inputs of a file, as for ``read_acceptance``.

    Raises:
        InvalidInputError: It is no such file.
    """
    return Evaluation(*_read_labelled(path, _MAX_EVALUATION_BYTES))


def read_calibration(path: Path) -> dict[str, NDArray[Any]]:
    """The inputs of a file, one array per model input under its name; a single one under any name.

    Raises:
        InvalidInputError: It is no such file.
    """
    arrays = read_npz(path, max_bytes=_MAX_CALIBRATION_BYTES, advice=_ADVICE_UNLABELLED)
    if not arrays:
        raise InvalidInputError(f"{path} holds no arrays.", advice=_ADVICE_UNLABELLED)
    return arrays


def _read_labelled(path: Path, max_bytes: int) -> tuple[dict[str, NDArray[Any]], NDArray[np.int64]]:
    arrays = read_npz(path, max_bytes=max_bytes, advice=_ADVICE)
    labels = arrays.pop(_LABELS, None)
    if labels is None or not arrays:
        raise InvalidInputError(f"{path} has no labels, or nothing else.", advice=_ADVICE)
    return arrays, whole_numbers(labels, where=str(path))
