"""The samples of a push: inputs and perhaps labels. What they must be for each use: ``sample_checks``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from common.errors import InvalidInputError


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """What the operator gave.

    Attributes:
        inputs: One array per model input, axis 0 the samples, equally many in all.
        labels: int64 [samples], or None.
        what: What an error calls them.
    """

    inputs: tuple[NDArray[Any], ...]
    labels: NDArray[np.int64] | None = None
    what: str = "samples"

    def __post_init__(self) -> None:
        counts = {array.shape[:1] for array in self.inputs}
        if len(counts) != 1 or not all(counts) or counts == {(0,)}:
            raise InvalidInputError(
                f"The {self.what} need one axis 0 of equal length, at least 1, in every input."
            )
        if self.labels is None:
            return
        if self.labels.dtype.kind not in "iu" or self.labels.shape != self.inputs[0].shape[:1]:
            raise InvalidInputError(f"The labels of the {self.what} must be one whole number per sample.")

    @property
    def count(self) -> int:
        """How many samples there are."""
        return len(self.inputs[0])


def read_samples(path: Path, *, what: str = "samples") -> Samples:
    """The samples in a safetensors file with the keys ``input/0``, ``input/1``… and perhaps ``labels``.

    Args:
        path: The file.
        what: What an error calls them.

    Raises:
        InvalidInputError: The file is none, or its content breaks a rule of ``Samples``.
    """
    try:
        arrays: dict[str, NDArray[Any]] = safetensors.numpy.load_file(path)
    except (safetensors.SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidInputError(f"The {what} are no safetensors file: {error}.") from error
    labels = arrays.pop("labels", None)
    keys = [f"input/{index}" for index in range(len(arrays))]
    if set(keys) != set(arrays):
        raise InvalidInputError(
            f"The {what} have the keys {sorted(arrays)!r:.200}.", advice="Name them input/0, input/1…"
        )
    if labels is not None and labels.dtype.kind in "iu":
        labels = labels.astype(np.int64)
    return Samples(tuple(arrays[key] for key in keys), labels, what)
