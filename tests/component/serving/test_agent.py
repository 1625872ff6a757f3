"""The endpoint as an agent has it: settings, files, a version with real codes, and the end of the process."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import grpc
import httpx
import numpy as np
import pytest
from nestfleet.oip import open_inference_pb2 as oip
from nestfleet.oip import open_inference_pb2_grpc as oip_grpc

from device_agent.inference.served import ServedModel
from tests.support.agent_process import AgentProcess, agent_process
from tests.support.models import tiny_net
from tests.support.serving import Doubler, site
from tests.support.versions import make_version


async def test_an_agent_answers_over_both_protocols_and_says_where(tmp_path: Path) -> None:
    with agent_process(tmp_path, "kitchen", "127.0.0.1:1", batch_window_ms="1.5", queue_length=3) as agent:
        await agent.ready()
        where = json.loads((agent.store_dir / "endpoint.json").read_bytes())
        async with grpc.aio.insecure_channel(where["grpc"]) as channel:
            stub = oip_grpc.GRPCInferenceServiceStub(channel)
            assert (await stub.ServerLive(oip.ServerLiveRequest())).live
            assert not (await stub.ServerReady(oip.ServerReadyRequest())).ready
        async with httpx.AsyncClient(base_url=where["http"]) as client:
            metrics = (await client.get("/metrics")).text
        assert 'nestfleet_moved_bytes_total{kind="base"} 0.0' in metrics
        assert "\nnestfleet_memory_budget_bytes 6.7108864e+07" in metrics
        assert "\nnestfleet_process_resident_memory_bytes" in metrics
        agent.process.terminate()
        # It ends only once its import of torch has, which takes long where others take the processor.
        assert await asyncio.to_thread(agent.process.wait, 60) == 0
        assert not (agent.store_dir / "endpoint.json").exists()


async def test_grpc_can_be_off(tmp_path: Path) -> None:
    with agent_process(tmp_path, "kitchen", "127.0.0.1:1", grpc_listen="off") as agent:
        await agent.ready()
        assert json.loads((agent.store_dir / "endpoint.json").read_bytes())["grpc"] == ""


async def test_a_grpc_port_in_use_ends_with_one_clear_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        agent = AgentProcess(
            tmp_path, "kitchen", "127.0.0.1:1", grpc_listen=f"127.0.0.1:{taken.getsockname()[1]}"
        )
        agent.start()
        assert await asyncio.to_thread(agent.process.wait, 60) == 1
    last = agent.log.strip().splitlines()[-1]
    assert last.startswith("nestfleet-agent: 127.0.0.1:")
    assert "(grpc_listen)" in last
    assert "Traceback" not in agent.log


@pytest.mark.parametrize("level", [4, 8])
async def test_a_version_with_real_codes_answers_together_as_alone(level: int) -> None:
    version = make_version(*tiny_net(width=16))
    served = ServedModel.load(version.manifest, version.read, (level,) * len(version.manifest.blocks))
    images = np.random.default_rng(0).random((12, 1, 8, 8), np.float32)
    alone = served.infer({"image": images}).outputs["output_0"]
    async with site() as place:
        place.models = {"doubler": place.doubler, "tiny": served}

        async def ask(index: int) -> oip.ModelInferResponse:
            request = oip.ModelInferRequest(
                model_name="tiny", raw_input_contents=[images[index].tobytes()], id=str(index)
            )
            request.inputs.add(name="image", datatype="FP32", shape=[1, 1, 8, 8])
            return await place.stub.ModelInfer(request)

        for _ in range(3):
            answers = await asyncio.gather(*(ask(index) for index in range(12)))
            for index, answer in enumerate(answers):
                assert (answer.id, answer.parameters["level"].int64_param) == (str(index), level)
                own = np.frombuffer(answer.raw_output_contents[0], np.float32)
                np.testing.assert_allclose(own, alone[index], atol=1e-4)
        statistics = await place.stub.ModelStatistics(oip.ModelStatisticsRequest(name="tiny"))
    [stats] = statistics.model_stats
    assert stats.inference_count == 36
    assert max(batch.batch_size for batch in stats.batch_stats) > 2


async def test_a_switch_of_versions_fails_no_request() -> None:
    async with site() as place:
        stop = asyncio.Event()

        async def switch() -> None:
            version = 7
            while not stop.is_set():
                version += 1
                place.models = {"doubler": Doubler(version=version)}
                await asyncio.sleep(0)

        async def ask() -> None:
            for value in range(30):
                answer = await place.call(np.full((1, 3), value, np.float32))
                assert np.frombuffer(answer.raw_output_contents[0], np.float32)[0] == 2 * value

        switching = asyncio.create_task(switch())
        await asyncio.gather(*(ask() for _ in range(4)))
        stop.set()
        await switching
        assert len(place.service._tallies) <= 65
