"""The HTTP side, over real sockets, with a model that needs no weights."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import numpy as np
import pytest
from device_agent.serving.worker import Worker
from numpy.typing import NDArray

from common.errors import ConfigError, InvalidInputError
from device_agent.inference.answering import Answer, AnsweringModel, TensorSpec
from device_agent.serving.http import server as http_server
from device_agent.serving.http.app import create_http_app
from device_agent.serving.http.server import HttpServer, serve_http


class Doubler:
    """Answers 2x; refuses negative numbers; waits while its gate is shut."""

    name = "doubler"
    version = 7
    inputs = (TensorSpec("x", np.dtype(np.float32), (None, 3)),)
    outputs = (
        TensorSpec("y", np.dtype(np.float32), (None, 3)),
        TensorSpec("z", np.dtype(np.int64), (None,)),
    )

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.broken = False

    def infer(self, inputs: Mapping[str, NDArray[Any]]) -> Answer:
        assert self.gate.wait(10)
        if self.broken:
            raise RuntimeError("a secret")
        if (inputs["x"] < 0).any():
            raise InvalidInputError("Input 'x' is negative.", advice="Send more.")
        return Answer({"y": inputs["x"] * 2, "z": np.arange(len(inputs["x"]))}, level=6)


class Endpoint:
    def __init__(self) -> None:
        self.doubler = Doubler()
        self.models: dict[str, AnsweringModel] = {"doubler": self.doubler}
        self.server: HttpServer
        self.client: httpx.AsyncClient

    async def infer(
        self, data: list[float], path: str = "/v2/models/doubler/infer", **more: Any
    ) -> httpx.Response:
        tensor = {"name": "x", "shape": [1, 3], "datatype": "FP32", "data": data}
        return await self.client.post(path, json={"inputs": [tensor], **more})


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    made = Endpoint()
    app = create_http_app(
        lambda: made.models, lambda: {"level": 6, "phase": "idle"}, worker=Worker(threads=1, waiting=2)
    )
    made.server = await serve_http(app, "127.0.0.1", 0)
    async with httpx.AsyncClient(base_url=made.server.url) as made.client:
        yield made
    made.doubler.gate.set()
    await made.server.close()


async def test_health_and_metadata(endpoint: Endpoint) -> None:
    get = endpoint.client.get
    assert (await get("/v2")).json()["name"] == "nestfleet-agent"
    assert (await get("/v2/health/live")).json() == {"live": True}
    assert (await get("/v2/health/ready")).status_code == 200
    assert (await get("/v2/models/doubler/versions/7/ready")).json() == {"name": "doubler", "ready": True}
    assert (await get("/v2/models/doubler")).json() == {
        "name": "doubler",
        "versions": ["7"],
        "platform": "nestfleet",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}],
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "z", "datatype": "INT64", "shape": [-1]},
        ],
    }
    assert (await get("/nestfleet/status")).json() == {"level": 6, "phase": "idle"}


async def test_an_answer_names_its_version_and_level(endpoint: Endpoint) -> None:
    response = await endpoint.infer([1, 2, 3.5], "/v2/models/doubler/versions/7/infer", id="q1")
    assert response.status_code == 200
    assert response.json() == {
        "model_name": "doubler",
        "model_version": "7",
        "id": "q1",
        "parameters": {"level": 6},
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 7.0]},
            {"name": "z", "datatype": "INT64", "shape": [1], "data": [0]},
        ],
    }
    only = await endpoint.infer([1, 2, 3], outputs=[{"name": "z"}])
    assert [output["name"] for output in only.json()["outputs"]] == ["z"]


async def test_what_is_asked_wrongly_gets_a_clear_error(endpoint: Endpoint) -> None:
    client = endpoint.client
    for response, status, message in (
        (await endpoint.infer([-1, 2, 3]), 400, "Input 'x' is negative. Send more."),
        (await endpoint.infer([1, 2]), 400, "states shape [1, 3] and sends [2]"),
        (await endpoint.infer([1, 2, 3], outputs=[{"name": "w"}]), 400, "no output 'w'"),
        (await endpoint.infer([1, 2, 3], "/v2/models/other/infer"), 404, "No model 'other'"),
        (await endpoint.infer([1, 2, 3], "/v2/models/doubler/versions/6/infer"), 404, "version 7, not 6"),
        (await client.post("/v2/models/doubler/infer", content=b"\x00"), 400, "no JSON"),
        (await client.get("/v3"), 404, "Not Found"),
        (await client.get("/v2/models/doubler/infer"), 405, "Method Not Allowed"),
    ):
        assert response.status_code == status
        assert message in response.json()["error"]


async def test_without_a_model_it_is_alive_and_not_ready(endpoint: Endpoint) -> None:
    endpoint.models.clear()
    assert (await endpoint.client.get("/v2/health/live")).status_code == 200
    assert (await endpoint.client.get("/v2/health/ready")).status_code == 503
    assert (await endpoint.client.get("/v2/models/doubler/ready")).status_code == 404


async def test_a_fault_inside_is_not_told(endpoint: Endpoint) -> None:
    endpoint.doubler.broken = True
    response = await endpoint.infer([1, 2, 3])
    assert response.status_code == 500
    assert "secret" not in response.text


async def test_a_body_beyond_the_limit_is_cut_off(endpoint: Endpoint) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 80 << 20:
            sent += 1 << 20
            yield bytes(1 << 20)

    try:
        response = await endpoint.client.post("/v2/models/doubler/infer", content=endless())
    except httpx.TransportError:
        pass  # the reset can overtake the response
    else:
        assert response.status_code == 413
    assert (await endpoint.infer([1, 2, 3])).status_code == 200


async def test_a_full_queue_refuses_and_recovers(endpoint: Endpoint) -> None:
    endpoint.doubler.gate.clear()
    asked = [asyncio.create_task(endpoint.infer([1, 2, 3])) for _ in range(5)]
    refused, _ = await asyncio.wait(asked, timeout=10, return_when=asyncio.FIRST_COMPLETED)
    endpoint.doubler.gate.set()
    codes = sorted([(await task).status_code for task in asked])
    assert {task.result().status_code for task in refused} == {503}
    assert codes == [200, 200, 200, 503, 503]
    assert (await endpoint.infer([1, 2, 3])).status_code == 200


async def test_an_address_in_use_is_a_clear_error(endpoint: Endpoint) -> None:
    port = int(endpoint.server.url.rsplit(":", 1)[1])
    with pytest.raises(ConfigError, match=r"cannot be bound.*port 0"):
        await serve_http(create_http_app(dict, dict), "127.0.0.1", port)


async def test_the_port_is_free_after_close() -> None:
    server = await serve_http(create_http_app(dict, dict), "127.0.0.1", 0)
    port = int(server.url.rsplit(":", 1)[1])
    await server.close()
    again = await serve_http(create_http_app(dict, dict), "127.0.0.1", port)
    await again.close()


def test_an_answer_does_not_wait_for_the_clients_acknowledgement() -> None:
    with (
        http_server._bind("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
