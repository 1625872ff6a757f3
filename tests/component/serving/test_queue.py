"""Requests that wait: batches, refusals, turns, and the end of the agent; through both protocols."""

from __future__ import annotations

import asyncio

import grpc
import httpx
import numpy as np
import pytest

from device_agent.serving.queueing.lanes import QueueRules
from tests.support.serving import Doubler, Mixer, Site, site
from tests.support.waiting import until


def queue_length(place: Site, model: str = "doubler") -> int:
    [line] = [
        line
        for line in place.service.metrics.text().decode().splitlines()
        if line.startswith(f'nestfleet_queue_length{{model="{model}"}}')
    ]
    return int(float(line.rsplit(" ", 1)[1]))


async def busy(place: Site) -> asyncio.Task[httpx.Response]:
    """A request that runs until the gate opens."""
    place.doubler.gate.clear()
    running = asyncio.create_task(place.post([9, 9, 9]))
    assert await asyncio.to_thread(place.doubler.entered.acquire, timeout=60)
    return running


async def wave(place: Site, values: list[float]) -> list[httpx.Response]:
    """Requests that wait together and are answered once the gate opens."""
    running = await busy(place)
    asked = [asyncio.create_task(place.post([value, 0, 0])) for value in values]
    await until(lambda: queue_length(place) == len(values))
    place.doubler.gate.set()
    assert (await running).status_code == 200
    return [await task for task in asked]


def rows(response: httpx.Response) -> list[float]:
    y: list[float] = response.json()["outputs"][0]["data"]
    return y


async def test_requests_that_wait_run_together_and_get_their_own_rows() -> None:
    async with site() as place:
        first = await wave(place, [1, 2, 3, 4])
        assert [rows(response)[0] for response in first] == [2, 4, 6, 8]
        assert place.doubler.sizes == [1, 1, 1, 1, 1, 2]  # apart, and two together to see that it is the same
        place.doubler.sizes.clear()
        place.doubler.level = 4
        second = await wave(place, [1, 2, 3, 4])
        assert [rows(response)[0] for response in second] == [2, 4, 6, 8]
        assert [response.json()["outputs"][1]["data"] for response in second] == [[1], [2], [3], [4]]
        assert {response.json()["parameters"]["level"] for response in second} == {4}
        assert place.doubler.sizes == [1, 4]


async def test_one_bad_request_does_not_fail_its_neighbours() -> None:
    async with site() as place:
        await wave(place, [1, 2])
        place.doubler.sizes.clear()
        answers = await wave(place, [1, -2, 3])
        assert [response.status_code for response in answers] == [200, 400, 200]
        assert place.doubler.sizes == [1, 3, 1, 1, 1]


async def test_a_model_that_mixes_rows_is_not_batched(caplog: pytest.LogCaptureFixture) -> None:
    async with site() as place:
        place.doubler = Mixer()
        place.models["doubler"] = place.doubler
        for _ in range(4):
            answers = await wave(place, [1, 2, 3])
            assert all(rows(response) == [0, 0, 0] for response in answers)
        assert place.doubler.sizes == [1, 1, 1, 1, 2] * 3 + [1, 1, 1, 1]
        assert "mixes rows" in caplog.text


async def test_a_fixed_batch_is_not_joined() -> None:
    async with site() as place:
        place.doubler = Doubler(batch=1)
        place.models["doubler"] = place.doubler
        for _ in range(2):
            await wave(place, [1, 2, 3])
        assert place.doubler.sizes == [1] * 8


async def test_both_protocols_share_a_batch() -> None:
    async with site() as place:
        await wave(place, [1, 2])
        place.doubler.sizes.clear()
        running = await busy(place)
        http = asyncio.create_task(place.post([1, 0, 0]))
        call = asyncio.create_task(place.call(np.full((2, 3), 5, np.float32)))
        await until(lambda: queue_length(place) == 2)
        place.doubler.gate.set()
        assert rows(await http)[0] == 2
        assert np.frombuffer((await call).raw_output_contents[0], np.float32).tolist() == [10.0] * 6
        await running
        assert place.doubler.sizes == [1, 3]


async def test_a_window_gathers_requests() -> None:
    async with site(QueueRules(window_seconds=0.3, batch_rows=3)) as place:
        # Three rows fill a batch, which then waits no longer.
        for _ in range(2):
            answers = await asyncio.gather(*(place.post([value, 0, 0]) for value in (1, 2, 3)))
            assert [rows(response)[0] for response in answers] == [2, 4, 6]
        assert place.doubler.sizes == [1, 1, 1, 2, 3]


async def test_a_full_queue_refuses_and_recovers() -> None:
    async with site(QueueRules(length=2)) as place:
        other = Doubler("other")
        place.models["other"] = other
        running = await busy(place)
        asked = [asyncio.create_task(place.post([1, 2, 3])) for _ in range(2)]
        await until(lambda: queue_length(place) == 2)
        refused = await place.post([1, 2, 3])
        assert refused.status_code == 503
        assert refused.headers["Retry-After"] == "1"
        assert refused.json() == {"error": "2 requests wait for 'doubler' already. Ask again later."}
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await place.call(np.ones((1, 3), np.float32))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        neighbour = asyncio.create_task(place.post([1, 2, 3], "/v2/models/other/infer"))
        await until(lambda: queue_length(place, "other") == 1)
        place.doubler.gate.set()
        assert [(await task).status_code for task in (running, *asked, neighbour)] == [200] * 4
        assert (await place.post([1, 2, 3])).status_code == 200


async def test_a_request_that_waits_too_long_is_refused() -> None:
    async with site(QueueRules(longest_seconds=0.2)) as place:
        running = await busy(place)
        late = await place.post([1, 2, 3])
        assert late.status_code == 503
        assert "within 0.2 s" in late.json()["error"]
        place.doubler.gate.set()
        assert (await running).status_code == 200
        assert place.doubler.sizes == [1]


async def test_a_client_that_goes_away_leaves_its_place() -> None:
    async with site() as place:
        running = await busy(place)
        with pytest.raises(httpx.ReadTimeout):
            await place.http.post(
                "/v2/models/doubler/infer",
                json={"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]},
                timeout=0.3,
            )
        await until(lambda: queue_length(place) == 0)
        place.doubler.gate.set()
        await running
        assert place.doubler.sizes == [1]
        text = place.service.metrics.text().decode()
        assert 'nestfleet_requests_total{model="doubler",outcome="cancelled",protocol="http"} 1.0' in text


async def test_models_take_turns() -> None:
    async with site(QueueRules(batch_rows=1)) as place:
        order: list[str] = []

        class Noting(Doubler):
            def infer(self, inputs):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
                order.append(self.name)
                return super().infer(inputs)

        place.models |= {name: Noting(name) for name in ("a", "b")}
        running = await busy(place)
        asked = [asyncio.create_task(place.post([1, 2, 3], f"/v2/models/{name}/infer")) for name in "aaaaaab"]
        await until(lambda: queue_length(place, "a") + queue_length(place, "b") == 7)
        place.doubler.gate.set()
        await asyncio.gather(running, *asked)
        assert order.index("b") <= 1


async def test_at_the_end_what_runs_is_answered_and_the_rest_is_told() -> None:
    async with site() as place:
        running = await busy(place)
        waiting = asyncio.create_task(place.post([1, 2, 3]))
        await until(lambda: queue_length(place) == 1)
        place.service.close()
        told = await waiting
        assert (told.status_code, told.headers["Retry-After"]) == (503, "1")
        assert told.json() == {"error": "The agent is shutting down. Ask again later."}
        assert (await place.post([1, 2, 3])).status_code == 503
        assert (await place.http.get("/v2/health/ready")).status_code == 503
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await place.call(np.ones((1, 3), np.float32))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        place.doubler.gate.set()
        assert (await running).status_code == 200


async def test_closing_waits_for_what_runs() -> None:
    async with site() as place:
        running = await busy(place)
        call = asyncio.create_task(place.call(np.ones((1, 3), np.float32)))
        await until(lambda: queue_length(place) == 1)
        asyncio.get_running_loop().call_later(0.3, place.doubler.gate.set)
    assert running.result().status_code == 200
    error = call.exception()
    assert isinstance(error, grpc.aio.AioRpcError)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "shutting down" in str(error.details())
    assert place.doubler.sizes == [1]
