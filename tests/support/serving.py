"""Models that need no weights, and an endpoint before them."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import httpx
import numpy as np
from nestfleet.oip import open_inference_pb2 as oip
from nestfleet.oip import open_inference_pb2_grpc as oip_grpc
from numpy.typing import NDArray

from common.errors import InvalidInputError
from device_agent.inference.answering import Answer, AnsweringModel, TensorSpec
from device_agent.serving.endpoint import Endpoint, open_endpoint
from device_agent.serving.protocol.limits import MAX_REQUEST_BYTES
from device_agent.serving.queueing.lanes import QueueRules
from device_agent.serving.service import REQUEST_MEMORY_BYTES, Service

STATUS = {"level": 6, "phase": "idle", "memory_budget_bytes": 7, "ledger": {"base": 12, "overhead": 3}}
FLOAT = np.dtype(np.float32)


class Doubler:
    """Answers 2x and the row numbers; refuses negative numbers; waits while its gate is shut.

    Attributes:
        sizes: Rows of every call.
        broken: Whether it fails in a way that nobody foresaw.
    """

    def __init__(self, name: str = "doubler", version: int = 7, *, batch: int | None = None) -> None:
        self.name, self.version = name, version
        self.inputs = (TensorSpec("x", FLOAT, (batch, 3)),)
        self.outputs = (
            TensorSpec("y", FLOAT, (batch, 3)),
            TensorSpec("z", np.dtype(np.int64), (batch,)),
        )
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.broken = False
        self.level = 6
        self.resident_bytes = 1234
        self.sizes: list[int] = []

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        self.sizes.append(len(inputs["x"]))
        self.entered.release()
        assert self.gate.wait(60)
        if self.broken:
            raise RuntimeError("a secret")
        if inputs["x"].dtype != FLOAT or inputs["x"].shape[1:] != (3,):
            raise InvalidInputError("Input 'x' does not fit.")
        if (inputs["x"] < 0).any():
            raise InvalidInputError("Input 'x' is negative.", advice="Send more.")
        return self.answer(inputs["x"])

    def answer(self, x: NDArray[Any]) -> Answer:
        return Answer({"y": x * 2, "z": x[:, 0].astype(np.int64)}, level=self.level)


class Mixer(Doubler):
    """Each row of its answer depends on all of the batch."""

    def answer(self, x: NDArray[Any]) -> Answer:
        return Answer({"y": x - x.mean(axis=0), "z": np.zeros(len(x), np.int64)}, level=self.level)


class Site:
    """An endpoint with clients for both of its ports.

    Attributes:
        models: What answers; may be changed.
        doubler: The first of them.
        answered: Whom requests had an answer of.
    """

    def __init__(self, rules: QueueRules, request_memory_bytes: int) -> None:
        self.doubler = Doubler()
        self.models: dict[str, AnsweringModel] = {"doubler": self.doubler}
        self.answered: list[str] = []
        self.service = Service(
            lambda: self.models,
            lambda: dict(STATUS),
            rules,
            request_memory_bytes=request_memory_bytes,
            on_answered=self.answered.append,
        )
        self.endpoint: Endpoint
        self.http: httpx.AsyncClient
        self.channel: grpc.aio.Channel
        self.stub: oip_grpc.GRPCInferenceServiceAsyncStub

    async def post(
        self, data: list[float], path: str = "/v2/models/doubler/infer", **more: Any
    ) -> httpx.Response:
        tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": data}
        return await self.http.post(path, json={"inputs": [tensor], **more})

    async def call(
        self, x: NDArray[np.float32], *, model: str = "doubler", **more: Any
    ) -> oip.ModelInferResponse:
        return await self.stub.ModelInfer(raw_request(x, model=model, **more))


def raw_request(x: NDArray[Any], *, model: str = "doubler", **more: Any) -> oip.ModelInferRequest:
    """A request for one FP32 input, its values as bytes."""
    request = oip.ModelInferRequest(model_name=model, raw_input_contents=[x.tobytes()], **more)
    request.inputs.add(name="x", datatype="FP32", shape=x.shape)
    return request


@asynccontextmanager
async def site(
    rules: QueueRules | None = None, *, request_memory_bytes: int = REQUEST_MEMORY_BYTES
) -> AsyncIterator[Site]:
    """A site that is closed with the block; its clients outlive it by a moment."""
    made = Site(rules or QueueRules(), request_memory_bytes)
    async with (
        AsyncExitStack() as clients,
        open_endpoint(made.service, http_listen="127.0.0.1:0", grpc_listen="127.0.0.1:0") as made.endpoint,
    ):
        made.http = await clients.enter_async_context(
            httpx.AsyncClient(base_url=made.endpoint.http_url, timeout=60)
        )
        made.channel = await clients.enter_async_context(channel_to(made.endpoint))
        made.stub = oip_grpc.GRPCInferenceServiceStub(made.channel)
        try:
            yield made
        except BaseException:
            made.doubler.gate.set()
            raise


def channel_to(endpoint: Endpoint) -> grpc.aio.Channel:
    """A connection of its own, which may send more than is taken."""
    options = [
        ("grpc.max_send_message_length", 2 * MAX_REQUEST_BYTES),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    return grpc.aio.insecure_channel(endpoint.grpc_address, options=options)
