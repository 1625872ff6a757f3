"""Open Inference Protocol v2 (KServe), JSON form: requests in, responses out. Pure.

Source: https://kserve.github.io/website/latest/modelserving/data_plane/v2_protocol/. Tensor data comes flat
in row-major order or nested like its shape. The binary extension is not spoken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from common.errors import InvalidInputError

MAX_BODY_BYTES: Final = 64 * 1024 * 1024
MAX_BATCH: Final = 1024
_MAX_TENSORS: Final = 64
_MAX_DIMENSIONS: Final = 8
_MAX_ID_CHARACTERS: Final = 256
_MAX_SIZE: Final = 1 << 31
DATATYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "BOOL": np.dtype(np.bool_),
    **{f"INT{bits}": np.dtype(f"i{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": np.dtype(f"u{bits // 8}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.dtype(f"f{bits // 8}") for bits in (16, 32, 64)},
}
_NAMES: Final = {dtype: name for name, dtype in DATATYPES.items()}


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client asks.

    Attributes:
        inputs: Name to array, of the datatype and shape that the request states.
        outputs: Names of the outputs that it wants; empty for all.
        request_id: Comes back in the response; may be empty.
    """

    inputs: Mapping[str, NDArray[Any]]
    outputs: tuple[str, ...]
    request_id: str


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name of an array's type.

    Raises:
        InvalidInputError: It has none.
    """
    name = _NAMES.get(dtype)
    if name is None:
        raise InvalidInputError(f"The protocol has no datatype for {dtype}.")
    return name


def parse_request(body: bytes) -> InferRequest:
    """The request that a body of JSON stands for.

    Raises:
        InvalidInputError: It is none, or a tensor does not keep what it states.
    """
    try:
        tree = json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"The request is no JSON: {str(error)[:200]}.") from error
    if not isinstance(tree, dict):
        raise InvalidInputError("The request is no JSON object.")
    inputs: dict[str, NDArray[Any]] = {}
    for item in _items(tree, "inputs"):
        name = _text(item, "name")
        if name in inputs:
            raise InvalidInputError(f"Input {name!r} comes twice.")
        inputs[name] = _array(item, name)
    if not inputs:
        raise InvalidInputError("The request has no 'inputs'.")
    outputs = tuple(_text(item, "name") for item in _items(tree, "outputs"))
    request_id = tree.get("id") or ""
    if not isinstance(request_id, str) or len(request_id) > _MAX_ID_CHARACTERS:
        raise InvalidInputError(f"'id' is no text of at most {_MAX_ID_CHARACTERS} characters.")
    return InferRequest(inputs, outputs, request_id)


def format_response(
    *, model: str, version: int, request_id: str, outputs: Mapping[str, NDArray[Any]], level: int
) -> bytes:
    """The body of an answer; values that JSON cannot carry (NaN, infinity) come as null.

    Args:
        model: Name of the model that answered.
        version: Its version.
        request_id: The request's; left out when empty.
        outputs: Name to array.
        level: Lowest level of any block while it answered, in bits.
    """
    tree: dict[str, Any] = {
        "model_name": model,
        "model_version": str(version),
        "parameters": {"level": level},
        "outputs": [
            {
                "name": name,
                "datatype": datatype_of(array.dtype),
                "shape": list(array.shape),
                "data": _values(array),
            }
            for name, array in outputs.items()
        ],
    }
    if request_id:
        tree["id"] = request_id
    return json.dumps(tree, allow_nan=False, separators=(",", ":")).encode()


def _values(array: NDArray[Any]) -> list[Any]:
    flat = array.reshape(-1)
    values: list[Any] = flat.tolist()
    if array.dtype.kind == "f" and not np.isfinite(flat).all():
        return [value if math.isfinite(value) else None for value in values]
    return values


def _array(item: Mapping[str, Any], name: str) -> NDArray[Any]:
    dtype = DATATYPES.get(_text(item, "datatype"))
    if dtype is None:
        raise InvalidInputError(
            f"Input {name!r} has the unknown datatype {item['datatype']!r:.40}.",
            advice=f"Known are {', '.join(DATATYPES)}.",
        )
    shape = _shape(item, name)
    data = item.get("data")
    if not isinstance(data, list):
        raise InvalidInputError(f"Input {name!r} has no list as 'data'.", advice="Send tensor data as JSON.")
    try:
        values = np.array(data)
    except (ValueError, OverflowError) as error:
        raise InvalidInputError(f"The data of input {name!r} is no regular list of numbers.") from error
    if values.shape not in {shape, (math.prod(shape),)}:
        raise InvalidInputError(f"Input {name!r} states shape {list(shape)} and sends {list(values.shape)}.")
    if dtype.kind == "u" and values.dtype.kind == "f":
        values = _whole_numbers(data, values)
    return _cast(values, dtype, name).reshape(shape)


def _whole_numbers(data: list[Any], values: NDArray[Any]) -> NDArray[Any]:
    """The numbers as uint64 where they all are whole and fit; numpy takes some of these for floats."""
    exact = np.array(data, dtype=object)
    top = np.iinfo(np.uint64).max
    return exact.astype(np.uint64) if all(type(it) is int and 0 <= it <= top for it in exact.flat) else values


def _cast(values: NDArray[Any], dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    """The values as a datatype, refused where that would change them beyond rounding."""
    allowed = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}[dtype.kind]
    if values.dtype.kind not in allowed:
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


def _shape(item: Mapping[str, Any], name: str) -> tuple[int, ...]:
    shape = item.get("shape")
    if not isinstance(shape, list) or not 1 <= len(shape) <= _MAX_DIMENSIONS:
        raise InvalidInputError(f"Input {name!r} has no 'shape' of 1 to {_MAX_DIMENSIONS} sizes.")
    if any(type(size) is not int or not 1 <= size <= _MAX_SIZE for size in shape):
        raise InvalidInputError(f"A size in the shape of input {name!r} is no positive whole number.")
    if shape[0] > MAX_BATCH:
        raise InvalidInputError(
            f"Input {name!r} has a batch of {shape[0]}.", advice=f"Send at most {MAX_BATCH} samples at once."
        )
    return tuple(shape)


def _items(tree: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = tree.get(key) or []
    if not isinstance(items, list) or len(items) > _MAX_TENSORS:
        raise InvalidInputError(f"'{key}' is no list of at most {_MAX_TENSORS} tensors.")
    if not all(isinstance(item, dict) for item in items):
        raise InvalidInputError(f"'{key}' holds something that is no object.")
    return items


def _text(item: Mapping[str, Any], key: str) -> str:
    text = item.get(key)
    if not isinstance(text, str) or not text:
        raise InvalidInputError(f"A tensor has no '{key}'.")
    return text


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")
