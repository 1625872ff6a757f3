"""The protocol's datatypes, and numpy's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError

DATATYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"INT{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
}
# Datatypes that the protocol has, and no model here takes or gives.
_ABSENT: Final = frozenset({"BYTES", "BF16"})
_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of an array's type.

    Raises:
        InvalidInputError: It has none.
    """
    name = _NAMES.get(dtype)
    if name is None:
        raise InvalidInputError(f"The protocol has no datatype for {dtype}.")
    return name


def dtype_of(datatype: str, name: str) -> np.dtype[Any]:
    """The array type that a request's datatype stands for.

    Args:
        datatype: As the request states it.
        name: The input, for messages.

    Raises:
        InvalidInputError: No input can have it.
    """
    if datatype in _ABSENT:
        raise InvalidInputError(
            f"Input {name!r} is {datatype}, and no model here takes {datatype}.",
            advice="The model's metadata states what it takes.",
        )
    dtype = DATATYPES.get(datatype)
    if dtype is None:
        raise InvalidInputError(
            f"Input {name!r} has the unknown datatype {datatype!r:.40}.",
            advice=f"Known are {', '.join(DATATYPES)}.",
        )
    return dtype


def to_wire(array: NDArray[Any]) -> bytes:
    """An array's values as the protocol's bytes: row-major, little-endian."""
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
