"""The server over gRPC. Errors of the channel end here."""

from __future__ import annotations

import contextlib
import platform
from collections.abc import AsyncGenerator, Awaitable, Sequence
from importlib.metadata import PackageNotFoundError, version
from types import TracebackType
from typing import Final, Self, TypeVar

import grpc
from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from common.channel import CHANNEL_OPTIONS
from common.digest import to_wire
from common.errors import LinkError
from device_agent.link.conversation import Conversation
from device_agent.link.offers import collect_offers
from device_agent.link.server import Chunk, DeltaOffer, Wanted
from device_agent.link.trouble import meant_by
from device_agent.store.records import Broker

_CALL_SECONDS: Final = 30.0
_MANIFEST_SECONDS: Final = 300.0  # hundreds of KiB for a large version, over a slow link
# The server sends pieces of about a quarter of a second: a frozen peer is noticed, a slow one is not cut.
_CHUNK_SECONDS: Final = 60.0
# A server that makes the first deltas between two large versions; what it has made it keeps for the next try.
_OFFERS_SECONDS: Final = 1800.0
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
        answer = await self._ask(self._stub.GetManifest(request, timeout=_MANIFEST_SECONDS))
        return answer.manifest_zstd

    async def blob_urls(self, digests: Sequence[str]) -> dict[str, str]:
        """URLs by digest, where the server offers any; each is a secret."""
        request = delivery_pb2.GetBlobUrlsRequest(digests=[to_wire(digest) for digest in digests])
        answer = await self._ask(self._stub.GetBlobUrls(request, timeout=self._call_seconds))
        return {one.digest.hex(): one.url for one in answer.urls}

    async def blobs(self, wanted: Sequence[Wanted]) -> AsyncGenerator[Chunk, None]:
        """Many blobs on one stream; the call ends with the generator."""
        call = self._stub.FetchBlobs()
        conversation = Conversation(call, wanted)
        try:
            async with contextlib.aclosing(conversation.chunks(self._chunk_seconds)) as chunks:
                async for chunk in chunks:
                    yield chunk
        except grpc.aio.AioRpcError as error:
            raise meant_by(error) from error
        except TimeoutError as error:
            raise LinkError(f"The server at {self._address} sent nothing in time.") from error
        finally:
            call.cancel()

    async def offer_deltas(
        self, wanted: str, held: str, blobs_per_block: Sequence[int], present_per_block: Sequence[int]
    ) -> Sequence[DeltaOffer]:
        """Which blobs can be had as deltas."""
        request = delivery_pb2.OfferDeltasRequest(
            manifest_digest=to_wire(wanted),
            held_manifest_digest=to_wire(held),
            blobs_per_block=blobs_per_block,
            present_per_block=present_per_block,
        )
        call = self._stub.OfferDeltas(request, timeout=_OFFERS_SECONDS)
        try:
            return await collect_offers(call, most=sum(blobs_per_block), silence_seconds=self._chunk_seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                return ()  # a server from before there were deltas
            raise meant_by(error) from error
        except TimeoutError as error:
            raise LinkError(f"The server at {self._address} is silent about deltas.") from error
        finally:
            call.cancel()

    async def _ask(self, call: Awaitable[_Answer]) -> _Answer:
        try:
            return await call
        except grpc.aio.AioRpcError as error:
            raise meant_by(error) from error


def _agent_version() -> str:
    try:
        return version("nestfleet")
    except PackageNotFoundError:
        return "unknown"
