"""The server over gRPC. Errors of the channel end here."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import AsyncGenerator, Awaitable, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Final, Self, TypeVar

import grpc
from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from common.channel import CHANNEL_OPTIONS, MIN_CHUNK_BYTES
from common.digest import to_wire
from common.errors import CapacityError, Error, LinkError
from common.rpc_status import from_rpc_error
from device_agent.store.records import Broker

_CALL_SECONDS: Final = 30.0
# A chunk is 256 KiB: enough time for 4 KiB/s, and a frozen peer is noticed all the same.
_CHUNK_SECONDS: Final = 60.0
_MAX_PORT: Final = 65_535
_Answer = TypeVar("_Answer")


class GrpcLink:
    """A channel to one server; connects by itself when it is needed. Implements ``ServerLink``.

    Args:
        address: ``HOST:PORT``.
        call_seconds: Deadline of a call that gives one answer.
        chunk_seconds: Longest wait for the next chunk of a stream.
    """

    def __init__(
        self, address: str, *, call_seconds: float = _CALL_SECONDS, chunk_seconds: float = _CHUNK_SECONDS
    ) -> None:
        self._address = address
        self._call_seconds = call_seconds
        self._chunk_seconds = chunk_seconds
        self._channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)
        self._stub: delivery_pb2_grpc.DeliveryServiceAsyncStub = delivery_pb2_grpc.DeliveryServiceStub(
            self._channel
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._channel.close()

    async def enrol(self, device_id: str, enrolment_key: bytes) -> Broker:
        """Make the device known; where its broker is."""
        request = delivery_pb2.EnrolRequest(
            device_id=device_id,
            enrolment_key=enrolment_key,
            agent_version=_agent_version(),
            platform=f"{platform.system()}/{platform.machine()}".lower()[:64],
        )
        answer = await self._ask(self._stub.Enrol(request, timeout=self._call_seconds))
        if not 1 <= answer.broker_port <= _MAX_PORT or len(answer.broker_host) > 253:  # noqa: PLR2004
            raise LinkError(f"The server at {self._address} names no usable broker.")
        return Broker(answer.broker_host, answer.broker_port, answer.broker_tls)

    async def manifest(self, digest: str) -> bytes:
        """The frame that holds a canonical manifest."""
        request = delivery_pb2.GetManifestRequest(digest=to_wire(digest))
        answer = await self._ask(self._stub.GetManifest(request, timeout=self._call_seconds))
        return answer.manifest_zstd

    async def blob_urls(self, digests: Sequence[str]) -> dict[str, str]:
        """URLs by digest, where the server offers any; each is a secret."""
        request = delivery_pb2.GetBlobUrlsRequest(digests=[to_wire(digest) for digest in digests])
        answer = await self._ask(self._stub.GetBlobUrls(request, timeout=self._call_seconds))
        return {one.digest.hex(): one.url for one in answer.urls}

    async def blob(self, digest: str, *, offset_bytes: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a blob from an offset on; the call ends with the generator."""
        call = self._stub.FetchBlob(
            delivery_pb2.FetchBlobRequest(
                digest=to_wire(digest), offset_bytes=offset_bytes, chunk_size_bytes=MIN_CHUNK_BYTES
            )
        )
        try:
            while True:
                async with asyncio.timeout(self._chunk_seconds):
                    answer = await call.read()
                if not isinstance(answer, delivery_pb2.FetchBlobResponse):
                    break
                if answer.offset_bytes != offset_bytes:
                    raise LinkError(f"The server sent byte {answer.offset_bytes}, not {offset_bytes}.")
                offset_bytes += len(answer.data)
                yield answer.data
            code = await call.code()
            if code is not grpc.StatusCode.OK:
                raise LinkError(f"The server ended a stream with {code.name}.")
        except grpc.aio.AioRpcError as error:
            raise _meant(error) from error
        except TimeoutError as error:
            raise LinkError(f"The server at {self._address} sent nothing in time.") from error
        finally:
            call.cancel()

    async def _ask(self, call: Awaitable[_Answer]) -> _Answer:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise _meant(error) from error


def _meant(error: grpc.aio.AioRpcError) -> Error:
    """The error that a failed call stands for here.

    A server that is overloaded, broken inside or dies in mid-stream is one that is away: none of that says
    anything about the version, nor about this device's disk.
    """
    meant = from_rpc_error(error)
    if type(meant) is Error or isinstance(meant, CapacityError):
        return LinkError(meant.message)
    return meant


def _agent_version() -> str:
    try:
        return version("nestfleet")
    except PackageNotFoundError:
        return "unknown"
