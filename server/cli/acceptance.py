"""Acceptance samples from an ``.npz`` file."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError
from server.client.publication import Acceptance

_ADVICE = "Write it so: numpy.savez(FILE, labels=labels, input=images), with labels of integers."


def read_acceptance(path: Path) -> Acceptance:
    """Labels and inputs of a file: the array ``labels``, and one array per model input under its name.

    Where the model has one input, its array may have any name.

    Raises:
        InvalidInputError: It is no such file.
    """
    arrays = _read(path)
    labels = arrays.pop("labels", None)
    if labels is None or not arrays:
        raise InvalidInputError(f"{path} has no labels, or nothing else.", advice=_ADVICE)
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise InvalidInputError(
            f"The labels in {path} are {labels.dtype} of shape {labels.shape}.", advice=_ADVICE
        )
    return Acceptance(arrays, labels.astype(np.int64))


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {name: file[name] for name in file}
    except OSError as error:
        raise InvalidInputError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (ValueError, EOFError, zipfile.BadZipFile, AttributeError, TypeError) as error:
        raise InvalidInputError(f"{path} is no .npz file of plain arrays.", advice=_ADVICE) from error
