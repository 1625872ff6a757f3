"""gRPC's request as the one that both transports have. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from nestfleet.oip import open_inference_pb2 as oip
from numpy.typing import NDArray

from common.errors import InvalidInputError
from device_agent.serving.protocol.datatypes import dtype_of
from device_agent.serving.protocol.limits import MAX_NAME_CHARACTERS, MAX_TENSORS
from device_agent.serving.protocol.messages import InferRequest, check_id, check_output_parameters
from device_agent.serving.protocol.tensors import array_from_bytes, array_from_numbers, check_shape

# The field of InferTensorContents that holds a datatype's values; FP16 has none.
CONTENTS: Final[Mapping[str, str]] = {
    "BOOL": "bool_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    "INT64": "int64_contents",
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}
_FIELD_DTYPES: Final = {
    "bool_contents": np.bool_,
    "int_contents": np.int32,
    "int64_contents": np.int64,
    "uint_contents": np.uint32,
    "uint64_contents": np.uint64,
    "fp32_contents": np.float32,
    "fp64_contents": np.float64,
}


def parse_message(message: oip.ModelInferRequest) -> InferRequest:
    """The request that a message stands for.

    Raises:
        InvalidInputError: It is none, or a tensor does not keep what it states.
    """
    if not 1 <= len(message.inputs) <= MAX_TENSORS or len(message.outputs) > MAX_TENSORS:
        raise InvalidInputError(
            f"A request has 1 to {MAX_TENSORS} inputs, and asks for as many outputs at most."
        )
    is_raw = bool(message.raw_input_contents)
    if is_raw and len(message.raw_input_contents) != len(message.inputs):
        raise InvalidInputError(
            f"{len(message.inputs)} inputs came with {len(message.raw_input_contents)} raw_input_contents.",
            advice="Send all inputs raw, or none; shared memory is not spoken.",
        )
    inputs: dict[str, NDArray[Any]] = {}
    for index, tensor in enumerate(message.inputs):
        if not 0 < len(tensor.name) <= MAX_NAME_CHARACTERS or tensor.name in inputs:
            raise InvalidInputError(f"Input {tensor.name!r:.80} comes twice, or has no proper name.")
        raw = message.raw_input_contents[index] if is_raw else None
        inputs[tensor.name] = _array(tensor, raw)
    return InferRequest(inputs, _outputs(message, is_raw=is_raw), check_id(message.id), is_raw)


def _array(tensor: oip.ModelInferRequest.InferInputTensor, raw: bytes | None) -> NDArray[Any]:
    name, dtype = tensor.name, dtype_of(tensor.datatype, tensor.name)
    shape = check_shape(list(tensor.shape), name)
    if raw is not None:
        if tensor.HasField("contents"):
            raise InvalidInputError(f"Input {name!r:.80} has contents beside raw_input_contents.")
        return array_from_bytes(raw, dtype, shape, name)
    field = CONTENTS.get(tensor.datatype)
    if field is None:
        raise InvalidInputError(
            f"Input {name!r:.80} is {tensor.datatype}, which has no typed contents.",
            advice="Send it in raw_input_contents.",
        )
    values: NDArray[Any] = np.array(getattr(tensor.contents, field), _FIELD_DTYPES[field])
    if dtype.kind == "f":
        # What was sent is of the datatype already, and may be NaN or infinite as in raw contents.
        return array_from_bytes(values.tobytes(), dtype, shape, name)
    return array_from_numbers(values, dtype, shape, name)


def _outputs(message: oip.ModelInferRequest, *, is_raw: bool) -> dict[str, bool]:
    outputs = {}
    for tensor in message.outputs:
        check_output_parameters(tensor.name, tensor.parameters)
        outputs[tensor.name] = is_raw
    return outputs
