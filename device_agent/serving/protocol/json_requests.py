"""Requests in JSON, with the binary tensor data extension: bytes of inputs may follow the JSON.

Sources: kserve.github.io/website/latest/modelserving/data_plane/v2_protocol (tensor data comes flat in
row-major order or nested like its shape), and Triton's docs/protocol/extension_binary_data.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from numpy.typing import NDArray

from common.errors import InvalidInputError
from device_agent.serving.protocol.datatypes import dtype_of
from device_agent.serving.protocol.limits import (
    MAX_JSON_BRACKETS,
    MAX_JSON_BYTES,
    MAX_NAME_CHARACTERS,
    MAX_TENSORS,
)
from device_agent.serving.protocol.messages import InferRequest, check_id, check_output_parameters
from device_agent.serving.protocol.tensors import array_from_bytes, array_from_numbers, check_shape
from device_agent.serving.refusals import TooLargeError

_SIZE: Final = "binary_data_size"


def parse_request(body: bytes, json_bytes: int | None = None) -> InferRequest:
    """The request that a body stands for.

    Args:
        body: JSON, and the bytes of those inputs that come so, in the order of the JSON.
        json_bytes: How much of it is JSON; None for all.

    Raises:
        InvalidInputError: It is no request, or a tensor does not keep what it states.
    """
    if json_bytes is not None and not 0 < json_bytes <= len(body):
        raise InvalidInputError(
            f"Of {len(body)} bytes {json_bytes} cannot be JSON.",
            advice="Inference-Header-Content-Length says how many are.",
        )
    tree = _tree(body if json_bytes is None else body[:json_bytes])
    tail = _Tail(memoryview(body)[len(body) if json_bytes is None else json_bytes :])
    inputs: dict[str, NDArray[Any]] = {}
    for item in _items(tree, "inputs"):
        name = _text(item, "name")
        if name in inputs:
            raise InvalidInputError(f"Input {name!r:.80} comes twice.")
        inputs[name] = _array(item, name, tail)
    if not inputs:
        raise InvalidInputError("The request has no 'inputs'.")
    tail.check_used()
    as_bytes = _flag(tree, "binary_data_output", default=False)
    return InferRequest(inputs, _outputs(tree, as_bytes), check_id(tree.get("id") or ""), as_bytes)


class _Tail:
    """The bytes behind the JSON, handed out one input after the other."""

    def __init__(self, data: memoryview) -> None:
        self._data = data

    def take(self, size_bytes: int, name: str) -> memoryview:
        if size_bytes > len(self._data):
            raise InvalidInputError(
                f"Input {name!r} states {size_bytes} bytes, and {len(self._data)} are left of the body."
            )
        taken, self._data = self._data[:size_bytes], self._data[size_bytes:]
        return taken

    def check_used(self) -> None:
        if len(self._data):
            raise InvalidInputError(f"{len(self._data)} bytes at the end of the body belong to no input.")


def _tree(text: bytes) -> Mapping[str, Any]:
    if len(text) > MAX_JSON_BYTES:
        raise TooLargeError(
            f"A request has at most {MAX_JSON_BYTES} bytes of JSON.", advice="Send values as binary data."
        )
    if text.count(b"[") + text.count(b"{") > MAX_JSON_BRACKETS:
        raise InvalidInputError("The request has too many lists.", advice="Send the data flat.")
    try:
        tree = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"The request is no JSON: {str(error)[:200]}.") from error
    if not isinstance(tree, dict):
        raise InvalidInputError("The request is no JSON object.")
    return tree


def _array(item: Mapping[str, Any], name: str, tail: _Tail) -> NDArray[Any]:
    dtype = dtype_of(_text(item, "datatype"), name)
    shape = item.get("shape")
    sizes = check_shape(shape if isinstance(shape, list) else (), name)
    size_bytes = _parameters(item).get(_SIZE)
    if size_bytes is not None:
        if type(size_bytes) is not int or size_bytes < 0 or "data" in item:
            raise InvalidInputError(f"Input {name!r} needs a whole {_SIZE!r}, and no 'data' beside it.")
        return array_from_bytes(tail.take(size_bytes, name), dtype, sizes, name)
    data = item.get("data")
    if not isinstance(data, list):
        raise InvalidInputError(
            f"Input {name!r} has no list as 'data'.",
            advice=f"Send tensor data as JSON, or as bytes with {_SIZE!r}; shared memory is not spoken.",
        )
    return array_from_numbers(data, dtype, sizes, name)


def _outputs(tree: Mapping[str, Any], as_bytes: bool) -> dict[str, bool]:  # noqa: FBT001  as the request has it
    outputs = {}
    for item in _items(tree, "outputs"):
        name = _text(item, "name")
        check_output_parameters(name, _parameters(item))
        outputs[name] = _flag(item, "binary_data", default=as_bytes)
    return outputs


def _items(tree: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = tree.get(key) or []
    if not isinstance(items, list) or len(items) > MAX_TENSORS:
        raise InvalidInputError(f"'{key}' is no list of at most {MAX_TENSORS} tensors.")
    if not all(isinstance(item, dict) for item in items):
        raise InvalidInputError(f"'{key}' holds something that is no object.")
    return items


def _parameters(item: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = item.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise InvalidInputError("'parameters' is no object.")
    return parameters


def _flag(item: Mapping[str, Any], key: str, *, default: bool) -> bool:
    value = _parameters(item).get(key, default)
    if not isinstance(value, bool):
        raise InvalidInputError(f"'{key}' is neither true nor false.")
    return value


def _text(item: Mapping[str, Any], key: str) -> str:
    text = item.get(key)
    if not isinstance(text, str) or not 0 < len(text) <= MAX_NAME_CHARACTERS:
        raise InvalidInputError(f"A tensor has no '{key}' of 1 to {MAX_NAME_CHARACTERS} characters.")
    return text


def _refuse_constant(constant: str) -> float:
    raise ValueError(f"{constant} is no JSON number")
