"""The answer that both transports have as gRPC's. Pure."""

from __future__ import annotations

from nestfleet.oip import open_inference_pb2 as oip

from device_agent.serving.grpc.requests import CONTENTS
from device_agent.serving.protocol.datatypes import datatype_of, to_wire
from device_agent.serving.protocol.messages import InferRequest, Reply


def to_message(reply: Reply, request: InferRequest) -> oip.ModelInferResponse:
    """The response to a request: raw where its inputs were, or where an output has no typed contents."""
    datatypes = {name: datatype_of(array.dtype) for name, array in reply.outputs.items()}
    is_raw = request.as_bytes or any(datatype not in CONTENTS for datatype in datatypes.values())
    message = oip.ModelInferResponse(
        model_name=reply.model, model_version=str(reply.version), id=reply.request_id
    )
    message.parameters["level"].int64_param = reply.level
    for name, array in reply.outputs.items():
        tensor = message.outputs.add(name=name, datatype=datatypes[name], shape=array.shape)
        if is_raw:
            message.raw_output_contents.append(to_wire(array))
        else:
            getattr(tensor.contents, CONTENTS[datatypes[name]]).extend(array.reshape(-1).tolist())
    return message
