"""The protocol over gRPC, over real sockets, with models that need no weights."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import numpy as np
import pytest
from nestfleet.oip import open_inference_pb2 as oip
from nestfleet.oip import open_inference_pb2_grpc as oip_grpc

from common.errors import ConfigError, ErrorCode
from common.rpc_status import CODE_KEY
from device_agent.serving.grpc.server import MAX_CALLS, MAX_CONNECTIONS, serve_grpc
from device_agent.serving.protocol.limits import MAX_REQUEST_BYTES
from device_agent.serving.queueing.lanes import QueueRules
from device_agent.serving.service import Service
from tests.support.serving import Doubler, Site, channel_to, raw_request, site
from tests.support.waiting import until

INFER = "/inference.GRPCInferenceService/ModelInfer"
ONES = np.ones((1, 3), np.float32)


@pytest.fixture
async def place() -> AsyncIterator[Site]:
    async with site() as made:
        yield made


def typed_request(values: list[float], **more: Any) -> oip.ModelInferRequest:
    request = oip.ModelInferRequest(model_name="doubler", **more)
    tensor = request.inputs.add(name="x", datatype="FP32", shape=[1, 3])
    tensor.contents.fp32_contents.extend(values)
    return request


def metrics(place: Site) -> str:
    return place.service.metrics.text().decode()


async def test_health_and_metadata(place: Site) -> None:
    stub = place.stub
    assert (await stub.ServerLive(oip.ServerLiveRequest())).live
    assert (await stub.ServerReady(oip.ServerReadyRequest())).ready
    assert (await stub.ModelReady(oip.ModelReadyRequest(name="doubler", version="7"))).ready
    assert not (await stub.ModelReady(oip.ModelReadyRequest(name="doubler", version="6"))).ready
    assert not (await stub.ModelReady(oip.ModelReadyRequest(name="other"))).ready
    server = await stub.ServerMetadata(oip.ServerMetadataRequest())
    assert server.name == "nestfleet-agent"
    model = await stub.ModelMetadata(oip.ModelMetadataRequest(name="doubler"))
    assert (model.name, list(model.versions), model.platform) == ("doubler", ["7"], "nestfleet")
    assert [(t.name, t.datatype, list(t.shape)) for t in model.outputs] == [
        ("y", "FP32", [-1, 3]),
        ("z", "INT64", [-1]),
    ]
    config = (await stub.ModelConfig(oip.ModelConfigRequest(name="doubler"))).config
    assert (config.max_batch_size, list(config.input[0].dims)) == (1024, [3])
    assert config.input[0].data_type == oip.TYPE_FP32
    index = await stub.RepositoryIndex(oip.RepositoryIndexRequest())
    assert [(m.name, m.version, m.state) for m in index.models] == [("doubler", "7", "READY")]
    place.models.clear()
    assert not (await stub.ServerReady(oip.ServerReadyRequest())).ready


async def test_values_come_raw_and_go_raw(place: Site) -> None:
    x = np.array([[1, 2, 3.5], [4, 5, 6]], np.float32)
    answer = await place.call(x, id="q", model_version="7")
    assert (answer.model_name, answer.model_version, answer.id) == ("doubler", "7", "q")
    assert answer.parameters["level"].int64_param == 6
    y, z = answer.outputs
    assert (y.name, y.datatype, list(y.shape), y.HasField("contents")) == ("y", "FP32", [2, 3], False)
    assert (z.name, z.datatype, list(z.shape)) == ("z", "INT64", [2])
    np.testing.assert_array_equal(np.frombuffer(answer.raw_output_contents[0], np.float32), (x * 2).ravel())
    assert np.frombuffer(answer.raw_output_contents[1], np.int64).tolist() == [1, 4]
    [stats] = (await place.stub.ModelStatistics(oip.ModelStatisticsRequest())).model_stats
    assert (stats.inference_count, stats.execution_count) == (2, 1)
    assert stats.batch_stats[0].batch_size == 2


async def test_values_come_typed_and_go_typed(place: Site) -> None:
    request = typed_request([1, 2, 3.5])
    request.outputs.add(name="z")
    request.outputs.add(name="y")
    z, y = (await place.stub.ModelInfer(request)).outputs
    assert (z.name, list(z.contents.int64_contents)) == ("z", [1])
    assert (y.name, list(y.contents.fp32_contents)) == ("y", [2, 4, 7])


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_a_compressed_call_is_understood(place: Site, compression: grpc.Compression) -> None:
    answer = await place.stub.ModelInfer(raw_request(np.ones((500, 3), np.float32)), compression=compression)
    assert list(answer.outputs[0].shape) == [500, 3]


async def test_what_is_asked_wrongly_gets_a_clear_error(place: Site) -> None:
    both = raw_request(ONES)
    both.inputs[0].contents.fp32_contents.extend([1, 2, 3])
    half = typed_request([1, 2, 3])
    half.inputs[0].datatype = "FP16"
    words = oip.ModelInferRequest(model_name="doubler", raw_input_contents=[b"\1\0\0\0a"])
    words.inputs.add(name="x", datatype="BYTES", shape=[1, 1])
    nothing = oip.ModelInferRequest(model_name="doubler")
    shared = raw_request(ONES)
    del shared.raw_input_contents[:]
    shared.inputs[0].parameters["shared_memory_region"].string_param = "r"
    classes = raw_request(ONES)
    classes.outputs.add(name="y").parameters["classification"].int64_param = 3
    unknown_output = raw_request(ONES)
    unknown_output.outputs.add(name="w")
    invalid, missing = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    for request, status, message in (
        (raw_request(-ONES), invalid, "Input 'x' is negative. Send more."),
        (raw_request(ONES, model="other"), missing, "No model 'other'"),
        (raw_request(ONES, model_version="6"), missing, "version 7, not 6"),
        (raw_request(ONES, id="i" * 300), invalid, "'id' is no text of at most 256"),
        (typed_request([1, 2]), invalid, r"states shape [1, 3]"),
        (both, invalid, "beside raw_input_contents"),
        (half, invalid, "no typed contents"),
        (words, invalid, "no model here takes BYTES"),
        (nothing, invalid, "1 to 64 inputs"),
        (shared, invalid, "states shape [1, 3]"),
        (classes, invalid, "'classification', which is not spoken"),
        (unknown_output, invalid, "no output 'w'"),
    ):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await place.stub.ModelInfer(request)
        assert (caught.value.code(), caught.value.details()) == (status, caught.value.details())
        assert message in str(caught.value.details())
    trailers = dict(caught.value.trailing_metadata() or ())
    assert trailers[CODE_KEY] == ErrorCode.INVALID_INPUT


async def test_a_fault_inside_is_not_told(place: Site) -> None:
    place.doubler.broken = True
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await place.call(ONES)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value)


async def test_what_is_not_offered_is_unimplemented(place: Site) -> None:
    for method in ("RepositoryModelUnload", "ModelStreamInfer", "SystemSharedMemoryStatus"):
        call = place.channel.unary_unary(
            f"/inference.GRPCInferenceService/{method}",
            request_serializer=oip.ModelReadyRequest.SerializeToString,
            response_deserializer=oip.ModelReadyResponse.FromString,
        )
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(oip.ModelReadyRequest(name="doubler"))
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip])
async def test_a_message_beyond_the_limit_is_refused(place: Site, compression: grpc.Compression) -> None:
    x = np.zeros((1024, MAX_REQUEST_BYTES // 4096 + 1), np.float32)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await place.stub.ModelInfer(raw_request(x), compression=compression)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (await place.call(ONES)).model_name == "doubler"


async def test_a_call_without_a_sound_message_is_refused(place: Site) -> None:
    for messages, text in (([], "without a message"), ([b"\xff\xff"], "none of this call")):
        call: Any = place.channel.stream_unary(INFER, request_serializer=bytes)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call(iter(messages))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert text in str(caught.value.details())


async def test_messages_that_do_not_come_hold_up_others_for_so_long_only() -> None:
    service = Service(lambda: {"doubler": Doubler()}, dict)
    server = await serve_grpc(service, "127.0.0.1:0", read_seconds=0.3)
    async with grpc.aio.insecure_channel(server.address) as channel:
        call: Any = channel.stream_unary(INFER, request_serializer=bytes)
        mute = [call() for _ in range(12)]
        answer = await oip_grpc.GRPCInferenceServiceStub(channel).ModelInfer(raw_request(ONES), timeout=60)
        assert answer.model_name == "doubler"
        for each in mute:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await each
            assert "did not come to its end" in str(caught.value.details())
    await server.close(0)


async def test_calls_beyond_those_at_a_time_are_refused() -> None:
    async with site(QueueRules(length=1024, batch_rows=1024)) as place:
        place.doubler.gate.clear()
        # Over one connection they would wait at the client, which keeps to the streams that it may have.
        async with channel_to(place.endpoint) as other:
            for wave in range(2):
                stubs = [place.stub, oip_grpc.GRPCInferenceServiceStub(other)]
                asked = [
                    asyncio.ensure_future(stubs[index % 2].ModelInfer(raw_request(ONES)))
                    for index in range(MAX_CALLS + 8)
                ]
                await until(lambda: sum(task.done() for task in asked) == 8)  # noqa: B023  awaited here
                place.doubler.gate.set()
                outcomes = await asyncio.gather(*asked, return_exceptions=True)
                refused = [error for error in outcomes if isinstance(error, grpc.aio.AioRpcError)]
                assert [error.code() for error in refused] == [grpc.StatusCode.RESOURCE_EXHAUSTED] * 8, wave
                place.doubler.gate.clear()
        place.doubler.gate.set()


async def test_connections_beyond_those_that_it_takes_are_closed(place: Site) -> None:
    await place.stub.ServerLive(oip.ServerLiveRequest())
    host, port = place.endpoint.grpc_address.split(":")
    opened = [await asyncio.open_connection(host, int(port)) for _ in range(MAX_CONNECTIONS + 4)]

    async def until_closed(reader: asyncio.StreamReader) -> None:
        with contextlib.suppress(ConnectionResetError):
            while await reader.read(1024):
                pass

    ends = [asyncio.create_task(until_closed(reader)) for reader, _ in opened]
    await until(lambda: sum(end.done() for end in ends) == 5)  # one place is the client's
    for _, writer in opened:
        writer.close()
    await asyncio.gather(*ends)
    assert (await place.call(ONES)).model_name == "doubler"


async def test_a_caller_that_goes_away_leaves_its_place(place: Site) -> None:
    place.doubler.gate.clear()
    first = asyncio.ensure_future(place.call(ONES))
    await asyncio.to_thread(place.doubler.entered.acquire, timeout=60)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await place.stub.ModelInfer(raw_request(ONES), timeout=0.3)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await until(
        lambda: 'nestfleet_queue_length{model="doubler"} 0.0' in place.service.metrics.text().decode()
    )
    place.doubler.gate.set()
    await first
    assert len(place.doubler.sizes) == 1


async def test_an_address_in_use_is_a_clear_error(place: Site) -> None:
    with pytest.raises(ConfigError, match="grpc_listen"):
        await serve_grpc(Service(dict, dict), place.endpoint.grpc_address)


async def test_a_fixed_batch_is_told_with_its_size(place: Site) -> None:
    place.models["fixed"] = Doubler("fixed", batch=2)
    config = (await place.stub.ModelConfig(oip.ModelConfigRequest(name="fixed"))).config
    assert (config.max_batch_size, list(config.input[0].dims)) == (0, [2, 3])
