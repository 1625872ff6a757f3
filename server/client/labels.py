"""Labels as an operator has them, in the one form in which they travel."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError

_LARGEST: Final = np.iinfo(np.int64).max


def whole_numbers(labels: Any, *, where: str) -> NDArray[np.int64]:
    """Labels as int64 [samples].

    Args:
        labels: A tensor of torch, an array or numbers.
        where: What an error calls their source.

    Raises:
        InvalidInputError: They are not one whole number per sample.
    """
    array = np.asarray(labels.detach().cpu() if hasattr(labels, "detach") else labels)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise InvalidInputError(
            f"The labels in {where} are {array.dtype} of shape {array.shape}.",
            advice="Give one whole number per sample.",
        )
    if (array > _LARGEST).any():
        raise InvalidInputError(f"A label in {where} is {array.max()}, which no class is.")
    return array.astype(np.int64)
