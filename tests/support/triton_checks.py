"""What Triton's own client sees of an agent. Run by the Python that has it: CHECK HTTP GRPC, addresses."""

from __future__ import annotations

import asyncio
import json
import queue
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import tritonclient.grpc as over_grpc
import tritonclient.grpc.aio as over_grpc_aio
import tritonclient.http as over_http
import tritonclient.http.aio as over_http_aio
from google.protobuf import descriptor_pb2
from tritonclient.grpc import model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

MODEL = "doubler"
X = np.arange(6, dtype=np.float32).reshape(2, 3)


def tensor(library: Any, x: Any = X, **more: Any) -> Any:
    made = library.InferInput("x", list(x.shape), "FP32")
    made.set_data_from_numpy(x, **more)
    return made


def check(result: Any, x: Any = X) -> None:
    np.testing.assert_array_equal(result.as_numpy("y"), x * 2)
    assert result.as_numpy("z").tolist() == x[:, 0].tolist()


def refused(call: Callable[[], Any], status: str, message: str) -> None:
    caught = None
    try:
        call()
    except InferenceServerException as error:
        caught = error
    assert caught is not None, f"not refused: {message}"
    assert caught.status() == status, caught
    assert message in caught.message(), caught


def http_facts(http: str, _: str) -> None:
    client = over_http.InferenceServerClient(http)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "7")
    assert not client.is_model_ready(MODEL, "8")
    assert not client.is_model_ready("other")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    assert client.get_model_metadata(MODEL)["inputs"][0]["shape"] == [-1, 3]
    assert client.get_model_config(MODEL, "7")["max_batch_size"] == 1024
    assert client.get_model_repository_index()[0]["state"] == "READY"
    client.infer(MODEL, [tensor(over_http)])
    for stats in (client.get_inference_statistics(), client.get_inference_statistics(MODEL)):
        assert stats["model_stats"][0]["inference_count"] == 2


def http_infer(http: str, _: str) -> None:
    client = over_http.InferenceServerClient(http, concurrency=4)
    for sent in (True, False):
        for wanted in (True, False, None):
            outputs = wanted is not None and [
                over_http.InferRequestedOutput(name, binary_data=wanted) for name in ("z", "y")
            ]
            result = client.infer(
                MODEL, [tensor(over_http, binary_data=sent)], outputs=outputs or None, request_id="r"
            )
            check(result)
            response = result.get_response()
            assert (response["id"], response["parameters"]) == ("r", {"level": 6})
    for squeezed in ("gzip", "deflate"):
        check(
            client.infer(
                MODEL,
                [tensor(over_http)],
                model_version="7",
                request_compression_algorithm=squeezed,
                response_compression_algorithm=squeezed,
            )
        )
    pending = [client.async_infer(MODEL, [tensor(over_http, X + index)]) for index in range(8)]
    for index, request in enumerate(pending):
        check(request.get_result(), X + index)


def http_refusals(http: str, _: str) -> None:
    client = over_http.InferenceServerClient(http)
    infer = client.infer
    refused(lambda: infer("other", [tensor(over_http)]), "404", "No model 'other'")
    refused(lambda: infer(MODEL, [tensor(over_http)], model_version="8"), "404", "version 7, not 8")
    refused(lambda: infer(MODEL, [tensor(over_http, -X)]), "400", "negative")
    refused(lambda: infer(MODEL, [tensor(over_http, X.reshape(3, 2))]), "400", "does not fit")
    words = over_http.InferInput("x", [1, 1], "BYTES")
    words.set_data_from_numpy(np.array([["a"]], np.object_))
    refused(lambda: infer(MODEL, [words]), "400", "no model here takes BYTES")
    wrong = [over_http.InferRequestedOutput("w")]
    refused(lambda: infer(MODEL, [tensor(over_http)], outputs=wrong), "400", "no output 'w'")
    classes = [over_http.InferRequestedOutput("y", class_count=2)]
    refused(lambda: infer(MODEL, [tensor(over_http)], outputs=classes), "400", "classification")
    refused(lambda: client.load_model(MODEL), "404", "Not Found")
    shared = over_http.InferInput("x", [2, 3], "FP32")
    shared.set_shared_memory("region", 24)
    refused(lambda: infer(MODEL, [shared]), "400", "shared memory is not spoken")


def http_aio(http: str, _: str) -> None:
    async def ask() -> None:
        async with over_http_aio.InferenceServerClient(http) as client:
            assert await client.is_server_ready()
            check(await client.infer(MODEL, [tensor(over_http)]))

    asyncio.run(ask())


def grpc_facts(_: str, grpc: str) -> None:
    client = over_grpc.InferenceServerClient(grpc)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert not client.is_model_ready("other")
    assert client.get_server_metadata().name == "nestfleet-agent"
    assert list(client.get_model_metadata(MODEL).inputs[0].shape) == [-1, 3]
    assert client.get_model_config(MODEL, as_json=True)["config"]["input"][0]["data_type"] == "TYPE_FP32"
    assert client.get_model_repository_index().models[0].state == "READY"
    client.infer(MODEL, [tensor(over_grpc)])
    assert client.get_inference_statistics(MODEL).model_stats[0].inference_count == 2


def grpc_infer(__: str, grpc: str) -> None:
    client = over_grpc.InferenceServerClient(grpc)
    for compression in (None, "gzip", "deflate"):
        outputs = [over_grpc.InferRequestedOutput(name) for name in ("z", "y")]
        result = client.infer(
            MODEL,
            [tensor(over_grpc)],
            outputs=outputs,
            request_id="r",
            model_version="7",
            compression_algorithm=compression,
        )
        check(result)
        response = result.get_response()
        assert response.id == "r"
        assert response.parameters["level"].int64_param == 6
    done: queue.Queue[tuple[int, Any, Any]] = queue.Queue()
    for index in range(8):
        client.async_infer(
            MODEL,
            [tensor(over_grpc, X + index)],
            callback=lambda result, error, index=index: done.put((index, result, error)),
        )
    for _ in range(8):
        index, result, error = done.get(timeout=20)
        assert error is None
        check(result, X + index)


def grpc_refusals(_: str, grpc: str) -> None:
    client = over_grpc.InferenceServerClient(grpc)
    infer = client.infer
    invalid, missing = "StatusCode.INVALID_ARGUMENT", "StatusCode.NOT_FOUND"
    refused(lambda: infer("other", [tensor(over_grpc)]), missing, "No model 'other'")
    refused(lambda: infer(MODEL, [tensor(over_grpc)], model_version="8"), missing, "version 7, not 8")
    refused(lambda: infer(MODEL, [tensor(over_grpc, -X)]), invalid, "negative")
    words = over_grpc.InferInput("x", [1, 1], "BYTES")
    words.set_data_from_numpy(np.array([["a"]], np.object_))
    refused(lambda: infer(MODEL, [words]), invalid, "no model here takes BYTES")
    wrong = [over_grpc.InferRequestedOutput("w")]
    refused(lambda: infer(MODEL, [tensor(over_grpc)], outputs=wrong), invalid, "no output 'w'")
    refused(lambda: client.unload_model(MODEL), "StatusCode.UNIMPLEMENTED", "")


def grpc_aio(_: str, grpc: str) -> None:
    async def ask() -> None:
        async with over_grpc_aio.InferenceServerClient(grpc) as client:
            assert await client.is_server_ready()
            check(await client.infer(MODEL, [tensor(over_grpc)]))

    asyncio.run(ask())


def contract(_: str, __: str) -> None:
    """Print the messages, enums and services of the client's own contract."""
    print(json.dumps(describe(service_pb2.DESCRIPTOR, model_config_pb2.DESCRIPTOR)))  # noqa: T201


def describe(*files: Any) -> dict[str, dict[str, Any]]:
    """Names to numbers, types and labels."""
    found: dict[str, dict[str, Any]] = {}

    def walk(prefix: str, message: Any) -> None:
        name = f"{prefix}{message.name}"
        found[name] = {item.name: [item.number, item.type, item.label] for item in message.field}
        for nested in message.nested_type:
            walk(f"{name}.", nested)

    for file in files:
        written = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(written)
        for message in written.message_type:
            walk("", message)
        for enum in written.enum_type:
            found[enum.name] = {value.name: value.number for value in enum.value}
        for service in written.service:
            found[service.name] = {
                method.name: [method.input_type, method.output_type] for method in service.method
            }
    return found


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
