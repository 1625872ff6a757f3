"""Arrays out of what a request sends for an input: numbers, or bytes. Refused where they break its word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError
from device_agent.serving.protocol.datatypes import datatype_of
from device_agent.serving.protocol.limits import MAX_DIMENSIONS, MAX_ROWS, MAX_SIZE

_NUMBERS: Final = frozenset({bool, int, float})
_SUITS: Final = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}


def check_shape(shape: Sequence[Any], name: str) -> tuple[int, ...]:
    """The shape that a request states for an input.

    Raises:
        InvalidInputError: It is none, or too large.
    """
    if not 1 <= len(shape) <= MAX_DIMENSIONS:
        raise InvalidInputError(f"Input {name!r} has no 'shape' of 1 to {MAX_DIMENSIONS} sizes.")
    if any(type(size) is not int or not 1 <= size <= MAX_SIZE for size in shape):
        raise InvalidInputError(f"A size in the shape of input {name!r} is no positive whole number.")
    if shape[0] > MAX_ROWS:
        raise InvalidInputError(
            f"Input {name!r} has a batch of {shape[0]}.", advice=f"Send at most {MAX_ROWS} samples at once."
        )
    return tuple(shape)


def array_from_bytes(
    data: bytes | memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], name: str
) -> NDArray[Any]:
    """Values that came as little-endian bytes, row-major; not to be written to.

    Raises:
        InvalidInputError: They are not as many as the shape says, or no truth values.
    """
    expected_bytes = math.prod(shape) * dtype.itemsize
    if len(data) != expected_bytes:
        raise InvalidInputError(
            f"Input {name!r} states shape {list(shape)} of {datatype_of(dtype)}, {expected_bytes} bytes,"
            f" and sends {len(data)}."
        )
    if dtype.kind == "b" and (np.frombuffer(data, np.uint8) > 1).any():
        raise InvalidInputError(f"A byte of input {name!r} is neither 0 nor 1.")
    wire = np.frombuffer(data, dtype.newbyteorder("<"))
    return wire.astype(dtype, copy=False).reshape(shape)


def array_from_numbers(data: Any, dtype: np.dtype[Any], shape: tuple[int, ...], name: str) -> NDArray[Any]:
    """Values that came as numbers, flat in row-major order or nested like the shape.

    Raises:
        InvalidInputError: They are not as many as the shape says, or do not suit the datatype.
    """
    if not isinstance(data, np.ndarray) and not _kinds(data) <= _NUMBERS:
        raise InvalidInputError(f"The data of input {name!r} does not suit {datatype_of(dtype)}.")
    try:
        values = np.array(data)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"The data of input {name!r} is no regular list of numbers.") from error
    if values.shape not in {shape, (math.prod(shape),)}:
        raise InvalidInputError(f"Input {name!r} states shape {list(shape)} and sends {list(values.shape)}.")
    if dtype.kind == "u" and values.dtype.kind == "f":
        values = _whole_numbers(data, values)
    return _cast(values, dtype, name).reshape(shape)


def _kinds(data: list[Any], depth: int = 0) -> set[type]:
    """Types of the values within lists; one long text would make numpy give every value that much room."""
    kinds = set(map(type, data))
    if list in kinds and depth < MAX_DIMENSIONS:
        kinds.remove(list)
        for item in data:
            if type(item) is list:
                kinds |= _kinds(item, depth + 1)
    return kinds


def _whole_numbers(data: Any, values: NDArray[Any]) -> NDArray[Any]:
    """The numbers as uint64 where they all are whole and fit; numpy takes some of these for floats."""
    exact = np.array(data, dtype=object)
    top = np.iinfo(np.uint64).max
    return exact.astype(np.uint64) if all(type(it) is int and 0 <= it <= top for it in exact.flat) else values


def _cast(values: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """The values as a datatype, refused where that would change them beyond rounding."""
    if values.dtype.kind not in _SUITS[dtype.kind]:
        raise InvalidInputError(f"The data of input {name!r} does not suit {datatype_of(dtype)}.")
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        if int(values.min()) < limits.min or int(values.max()) > limits.max:
            raise InvalidInputError(f"A value of input {name!r} leaves the range of {datatype_of(dtype)}.")
        return values.astype(dtype)
    with np.errstate(over="ignore"):
        cast = values.astype(dtype)
    if dtype.kind == "f" and not np.isfinite(cast).all():
        raise InvalidInputError(f"A value of input {name!r} leaves the range of {datatype_of(dtype)}.")
    return cast
