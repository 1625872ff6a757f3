"""The protocol over HTTP, over real sockets, with models that need no weights."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import socket
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest

from common.errors import ConfigError
from device_agent.serving.http import server as http_server
from device_agent.serving.http.app import create_http_app
from device_agent.serving.http.body import JSON_BYTES_HEADER
from device_agent.serving.http.connection import Connection
from device_agent.serving.http.server import MAX_REQUESTS, serve_http
from device_agent.serving.service import Service
from tests.support.serving import Site, site

INFER = "/v2/models/doubler/infer"


@pytest.fixture
async def place() -> AsyncIterator[Site]:
    async with site() as made:
        yield made


def binary(x: np.ndarray[Any, Any], **more: Any) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request whose input comes as bytes."""
    tensor = {
        "name": "x",
        "shape": list(x.shape),
        "datatype": "FP32",
        "parameters": {"binary_data_size": x.nbytes},
    }
    text = json.dumps({"inputs": [tensor], **more}).encode()
    return text + x.tobytes(), {JSON_BYTES_HEADER: str(len(text))}


async def test_health_and_metadata(place: Site) -> None:
    get = place.http.get
    server = (await get("/v2")).json()
    assert server["name"] == "nestfleet-agent"
    assert "binary_tensor_data" in server["extensions"]
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
    assert (await get("/nestfleet/status")).json()["phase"] == "idle"


async def test_config_index_and_statistics(place: Site) -> None:
    config = (await place.http.get("/v2/models/doubler/config")).json()
    assert config["max_batch_size"] == 1024
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [3]}]
    assert (await place.http.post("/v2/repository/index")).json() == [
        {"name": "doubler", "version": "7", "state": "READY", "reason": ""}
    ]
    await place.post([1, 2, 3])
    await place.post([-1, 2, 3])
    assert place.answered == ["doubler"]
    for path in ("/v2/models/doubler/stats", "/v2/models/stats", "/v2/models/doubler/versions/7/stats"):
        [stats] = (await place.http.get(path)).json()["model_stats"]
        assert (stats["inference_count"], stats["execution_count"]) == (1, 1)
        assert stats["inference_stats"]["success"]["count"] == 1
        assert stats["inference_stats"]["fail"]["count"] == 1
        assert stats["batch_stats"][0]["batch_size"] == 1


async def test_an_answer_names_its_version_and_level(place: Site) -> None:
    response = await place.post([1, 2, 3.5], "/v2/models/doubler/versions/7/infer", id="q1")
    assert response.status_code == 200
    assert response.json() == {
        "model_name": "doubler",
        "model_version": "7",
        "id": "q1",
        "parameters": {"level": 6},
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [2.0, 4.0, 7.0]},
            {"name": "z", "datatype": "INT64", "shape": [1], "data": [1]},
        ],
    }
    only = await place.post([1, 2, 3], outputs=[{"name": "z"}])
    assert [output["name"] for output in only.json()["outputs"]] == ["z"]


async def test_inputs_and_outputs_come_as_bytes(place: Site) -> None:
    x = np.array([[1, 2, 3], [4, 5, 6]], np.float32)
    body, headers = binary(
        x, outputs=[{"name": "z"}, {"name": "y", "parameters": {"binary_data": True}}], id="b"
    )
    response = await place.http.post(INFER, content=body, headers=headers)
    assert response.headers["Content-Type"] == "application/octet-stream"
    length = int(response.headers[JSON_BYTES_HEADER])
    tree = json.loads(response.content[:length])
    assert tree["parameters"] == {"level": 6}
    z, y = tree["outputs"]
    assert z["data"] == [1, 4]
    assert (y["parameters"], "data" in y) == ({"binary_data_size": 24}, False)
    np.testing.assert_array_equal(
        np.frombuffer(response.content[length:], np.float32).reshape(y["shape"]), x * 2
    )


@pytest.mark.parametrize(("encoding", "squeeze"), [("gzip", gzip.compress), ("deflate", zlib.compress)])
async def test_a_compressed_body_is_understood(place: Site, encoding: str, squeeze: Any) -> None:
    body, headers = binary(np.ones((40, 3), np.float32), parameters={"binary_data_output": True})
    headers["Content-Encoding"] = encoding
    response = await place.http.post(INFER, content=squeeze(body), headers=headers)
    assert response.status_code == 200
    assert len(response.content) == int(response.headers[JSON_BYTES_HEADER]) + 40 * 3 * 4 + 40 * 8
    for broken, message in (
        (squeeze(body)[:-9], "not one whole"),
        (squeeze(body) + b"more", "not one whole"),
        (body, f"no {encoding}"),
    ):
        response = await place.http.post(INFER, content=broken, headers=headers)
        assert (response.status_code, message in response.json()["error"]) == (400, True)


async def test_a_body_that_inflates_beyond_the_limit_is_refused(place: Site) -> None:
    bomb = gzip.compress(bytes(200 << 20), 1)
    assert len(bomb) < 1 << 20
    response = await place.http.post(INFER, content=bomb, headers={"Content-Encoding": "gzip"})
    assert response.status_code == 413
    assert place.service.allowance.held_bytes == 0


async def test_what_is_asked_wrongly_gets_a_clear_error(place: Site) -> None:
    http = place.http
    body, headers = binary(np.ones((1, 3), np.float32))
    for response, status, message in (
        (await place.post([-1, 2, 3]), 400, "Input 'x' is negative. Send more."),
        (await place.post([1, 2]), 400, "states shape [1, 3] and sends [2]"),
        (await place.post([1, 2, 3], outputs=[{"name": "w"}]), 400, "no output 'w'"),
        (await place.post([1, 2, 3], "/v2/models/other/infer"), 404, "No model 'other'"),
        (await place.post([1, 2, 3], "/v2/models/doubler/versions/6/infer"), 404, "version 7, not 6"),
        (await http.post(INFER, content=b"\x00"), 400, "no JSON"),
        (await http.post(INFER, content=body, headers={JSON_BYTES_HEADER: "-1"}), 400, "no count of bytes"),
        (await http.post(INFER, content=body, headers={JSON_BYTES_HEADER: "9999"}), 400, "cannot be JSON"),
        (await http.post(INFER, content=body + b"x", headers=headers), 400, "belong to no input"),
        (await http.post(INFER, content=body[:-1], headers=headers), 400, "11 are left"),
        (await http.post(INFER, content=body, headers={"Content-Encoding": "br"}), 400, "gzip, deflate"),
        (await http.get("/v3"), 404, "Not Found"),
        (await http.get(INFER), 405, "Method Not Allowed"),
        (await http.get("/v2/models/other/config"), 404, "No model 'other'"),
        (await http.post("/v2/repository/models/doubler/unload"), 404, "Not Found"),
    ):
        assert (response.status_code, response.json()) == (status, response.json())
        assert message in response.json()["error"]
    metrics = (await http.get("/metrics")).text
    assert 'nestfleet_requests_total{model="doubler",outcome="invalid",protocol="http"} 9.0' in metrics
    assert 'nestfleet_requests_total{model="",outcome="unknown",protocol="http"} 2.0' in metrics


async def test_without_a_model_it_is_alive_and_not_ready(place: Site) -> None:
    place.models.clear()
    assert (await place.http.get("/v2/health/live")).status_code == 200
    assert (await place.http.get("/v2/health/ready")).status_code == 503
    assert (await place.http.get("/v2/models/doubler/ready")).status_code == 404


async def test_a_fault_inside_is_not_told(place: Site) -> None:
    place.doubler.broken = True
    response = await place.post([1, 2, 3])
    assert response.status_code == 500
    assert "secret" not in response.text


@pytest.mark.parametrize("headers", [{}, {JSON_BYTES_HEADER: "100"}])
async def test_a_body_beyond_the_limit_is_cut_off(place: Site, headers: dict[str, str]) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 80 << 20:
            sent += 1 << 20
            yield bytes(1 << 20)

    try:
        response = await place.http.post(INFER, content=endless(), headers=headers)
    except httpx.TransportError:
        pass  # the reset can overtake the response
    else:
        assert response.status_code == 413
    assert (await place.post([1, 2, 3])).status_code == 200
    assert place.service.allowance.held_bytes == 0


async def test_requests_together_take_no_more_memory_than_they_may() -> None:
    async with site(request_memory_bytes=1 << 20) as place:
        body, headers = binary(np.ones((1024, 3), np.float32))
        place.doubler.gate.clear()
        asked = [asyncio.create_task(place.http.post(INFER, content=body, headers=headers)) for _ in range(3)]
        held = place.service.allowance.claim()
        with held:
            held.add((1 << 20) - 4 * len(body))
            refused = await place.http.post(INFER, content=bytes(5 * len(body)), headers=headers)
        place.doubler.gate.set()
        assert refused.status_code == 503
        assert "request_memory_bytes" in refused.json()["error"]
        assert [(await task).status_code for task in asked] == [200] * 3


async def test_a_connection_without_a_request_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Connection, "head_seconds", 0.2)
    async with site() as place:
        host, port = place.endpoint.http_url.removeprefix("http://").split(":")
        for beginning in (b"", b"GET /v2 HTTP/1.1\r\nHost: x\r\n"):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(beginning)
            with contextlib.suppress(ConnectionResetError):
                assert await asyncio.wait_for(reader.read(), 60) == b""
            writer.close()
        place.doubler.gate.clear()
        answer = asyncio.create_task(place.post([1, 2, 3]))
        await asyncio.to_thread(place.doubler.entered.acquire, timeout=60)
        slow = await place.http.get("/v2")
        place.doubler.gate.set()
        assert (slow.status_code, (await answer).status_code) == (200, 200)


async def test_more_connections_than_it_takes_are_told_so(place: Site) -> None:
    host, port = place.endpoint.http_url.removeprefix("http://").split(":")
    idle = [await asyncio.open_connection(host, int(port)) for _ in range(MAX_REQUESTS)]
    async with httpx.AsyncClient(base_url=place.endpoint.http_url) as client:
        refused = await client.get("/v2")
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "1"
    assert "connections" in refused.json()["error"]
    for _, writer in idle:
        writer.close()


async def test_metrics_tell_of_requests_and_state(place: Site) -> None:
    await place.post([1, 2, 3])
    response = await place.http.get("/metrics")
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for line in (
        'nestfleet_requests_total{model="doubler",outcome="ok",protocol="http"} 1.0',
        'nestfleet_request_seconds_count{model="doubler",protocol="http"} 1.0',
        'nestfleet_inference_seconds_count{model="doubler"} 1.0',
        'nestfleet_batch_rows_bucket{le="1.0",model="doubler"} 1.0',
        'nestfleet_queue_length{model="doubler"} 0.0',
        'nestfleet_model_level_bits{model="doubler",version="7"} 6.0',
        'nestfleet_resident_bytes{model="doubler",version="7"} 1234.0',
        "nestfleet_memory_budget_bytes 7.0",
        'nestfleet_moved_bytes_total{kind="base"} 12.0',
        "nestfleet_process_resident_memory_bytes",
    ):
        assert f"\n{line}" in response.text
    names = {line.split("{")[0].split(" ")[0] for line in response.text.splitlines() if line[0] != "#"}
    assert all(name.startswith("nestfleet_") for name in names)


async def test_an_address_in_use_is_a_clear_error(place: Site) -> None:
    port = int(place.endpoint.http_url.rsplit(":", 1)[1])
    with pytest.raises(ConfigError, match=r"cannot be bound.*port 0"):
        await serve_http(create_http_app(Service(dict, dict)), "127.0.0.1", port)


async def test_the_port_is_free_after_close() -> None:
    app = create_http_app(Service(dict, dict))
    server = await serve_http(app, "127.0.0.1", 0)
    port = int(server.url.rsplit(":", 1)[1])
    await server.close()
    again = await serve_http(app, "127.0.0.1", port)
    await again.close()


def test_an_answer_does_not_wait_for_the_clients_acknowledgement() -> None:
    with (
        http_server._bind("127.0.0.1", 0) as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
