"""Answers in JSON; outputs that are asked for as bytes follow it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from device_agent.serving.protocol.datatypes import datatype_of, to_wire
from device_agent.serving.protocol.messages import InferRequest, Reply


@dataclass(frozen=True, slots=True)
class Content:
    """The body of an answer.

    Attributes:
        body: JSON, and what follows it.
        json_bytes: How much of it is JSON; None where nothing follows.
    """

    body: bytes
    json_bytes: int | None


def format_reply(reply: Reply, request: InferRequest) -> Content:
    """An answer as the request wants it; values that JSON cannot carry (NaN, infinity) come as null."""
    outputs, tail = [], []
    for name, array in reply.outputs.items():
        output: dict[str, Any] = {
            "name": name,
            "datatype": datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if request.outputs.get(name, request.as_bytes):
            tail.append(to_wire(array))
            output["parameters"] = {"binary_data_size": len(tail[-1])}
        else:
            output["data"] = _values(array)
        outputs.append(output)
    tree: dict[str, Any] = {
        "model_name": reply.model,
        "model_version": str(reply.version),
        "parameters": {"level": reply.level},
        "outputs": outputs,
    }
    if reply.request_id:
        tree["id"] = reply.request_id
    text = json.dumps(tree, allow_nan=False, separators=(",", ":")).encode()
    return Content(b"".join([text, *tail]), len(text) if tail else None)


def _values(array: NDArray[Any]) -> list[Any]:
    flat = array.reshape(-1)
    values: list[Any] = flat.tolist()
    if array.dtype.kind == "f" and not np.isfinite(flat).all():
        return [value if math.isfinite(value) else None for value in values]
    return values
