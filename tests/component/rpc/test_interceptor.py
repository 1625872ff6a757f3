from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from nestfleet.v1 import catalog_pb2, catalog_pb2_grpc, delivery_pb2, delivery_pb2_grpc

from common.errors import CapacityError, Error, IntegrityError, NotFoundError
from common.rpc_status import from_rpc_error
from server.rpc.interceptor import ErrorInterceptor


class FailingCatalog(catalog_pb2_grpc.CatalogServiceServicer):
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        raise self._error

    async def GetVersion(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        raise self._error

    async def DeleteVersion(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        raise self._error


class FailingDelivery(delivery_pb2_grpc.DeliveryServiceServicer):
    def __init__(self, error: Exception) -> None:
        self._error = error

    async def Enrol(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        raise self._error

    async def GetManifest(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        raise self._error

    async def FetchBlobs(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802, ARG002
        yield delivery_pb2.FetchBlobsResponse(data=b"first")
        raise self._error

    async def GetBlobUrls(self, request: Any, context: Any) -> Any:  # noqa: N802, ARG002
        raise self._error

    async def OfferDeltas(self, request: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802, ARG002
        yield delivery_pb2.OfferDeltasResponse()
        raise self._error


@asynccontextmanager
async def failing_server(
    error: Exception, delivery: type[FailingDelivery] = FailingDelivery, *, write_seconds: float = 60
) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server(interceptors=[ErrorInterceptor(write_seconds=write_seconds)])
    catalog_pb2_grpc.add_CatalogServiceServicer_to_server(FailingCatalog(error), server)
    delivery_pb2_grpc.add_DeliveryServiceServicer_to_server(delivery(error), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    await server.stop(None)


@pytest.mark.parametrize("error", [NotFoundError("gone", advice="Look."), CapacityError("full")])
async def test_an_error_reaches_the_caller_as_it_is(error: Error) -> None:
    async with failing_server(error) as channel:
        catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await catalog.ListModels(catalog_pb2.ListModelsRequest())
    meant = from_rpc_error(caught.value)
    assert type(meant) is type(error)
    assert str(meant) == str(error)


async def test_an_error_in_mid_stream_comes_after_what_was_sent() -> None:
    async with failing_server(IntegrityError("flipped")) as channel:
        call = delivery_pb2_grpc.DeliveryServiceStub(channel).FetchBlobs()
        first = await call.read()
        assert isinstance(first, delivery_pb2.FetchBlobsResponse)
        assert first.data == b"first"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await call.read()
    assert isinstance(from_rpc_error(caught.value), IntegrityError)


async def test_an_unexpected_failure_is_logged_and_hidden(caplog: pytest.LogCaptureFixture) -> None:
    async with failing_server(ZeroDivisionError("secret")) as channel:
        catalog = catalog_pb2_grpc.CatalogServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await catalog.ListModels(catalog_pb2.ListModelsRequest())
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value.details())
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_method_that_is_not_there() -> None:
    async with failing_server(NotFoundError("gone")) as channel:
        method: Any = channel.unary_unary("/nestfleet.v1.CatalogService/Nothing")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await method(b"")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_peer_that_reads_nothing_is_cut() -> None:
    ended = asyncio.Event()

    class Endless(FailingDelivery):
        async def FetchBlobs(self, requests: Any, context: Any) -> AsyncIterator[Any]:  # noqa: N802, ARG002
            try:
                while True:
                    yield delivery_pb2.FetchBlobsResponse(data=bytes(1 << 20))
            finally:
                ended.set()

    async with failing_server(NotFoundError("unused"), Endless, write_seconds=0.3) as channel:
        call = delivery_pb2_grpc.DeliveryServiceStub(channel).FetchBlobs()
        assert await call.read() is not grpc.aio.EOF
        async with asyncio.timeout(60):
            await ended.wait()
            with pytest.raises(grpc.aio.AioRpcError):
                await read_all(call)


async def read_all(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass
