"""DeliveryService: what devices ask."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import grpc
from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from common.digest import from_wire, to_wire
from common.errors import ConflictError
from server.delivery.delta_pair import DeltaOffer
from server.delivery.deltas import Deltas
from server.delivery.enrol import Enrolment
from server.delivery.fetch import Fetching, manifest_frame
from server.delivery.stream.pieces import Part
from server.delivery.stream.sending import BlobStream
from server.delivery.urls import UrlSigning
from server.rpc.interceptor import abort_with


class DeliveryServicer(delivery_pb2_grpc.DeliveryServiceServicer):
    """Enrols devices, hands out manifests and blobs, and offers deltas."""

    def __init__(self, enrolment: Enrolment, fetching: Fetching, signing: UrlSigning, deltas: Deltas) -> None:
        self._enrolment = enrolment
        self._fetching = fetching
        self._signing = signing
        self._deltas = deltas

    async def Enrol(
        self, request: delivery_pb2.EnrolRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> delivery_pb2.EnrolResponse:
        """Makes a device known."""
        try:
            broker = await self._enrolment.enrol(
                request.device_id,
                request.enrolment_key,
                agent_version=request.agent_version,
                platform=request.platform,
            )
        except ConflictError as error:
            await abort_with(context, error, status=grpc.StatusCode.ALREADY_EXISTS)
        return delivery_pb2.EnrolResponse(
            broker_host=broker.host, broker_port=broker.port, broker_tls=broker.tls
        )

    async def GetManifest(
        self,
        request: delivery_pb2.GetManifestRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> delivery_pb2.GetManifestResponse:
        """A manifest by its digest."""
        manifest = await self._fetching.manifest(from_wire(request.digest))
        return delivery_pb2.GetManifestResponse(
            manifest_zstd=manifest_frame(manifest), manifest_size_bytes=len(manifest)
        )

    async def OfferDeltas(
        self, request: delivery_pb2.OfferDeltasRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[delivery_pb2.OfferDeltasResponse]:
        """Deltas as they are made; an answer without any says that the server is still at it."""
        wanted, held = from_wire(request.manifest_digest), from_wire(request.held_manifest_digest)
        offers = self._deltas.offers(
            wanted, held, tuple(request.blobs_per_block), tuple(request.present_per_block)
        )
        async with contextlib.aclosing(offers) as batches:
            async for batch in batches:
                yield delivery_pb2.OfferDeltasResponse(offers=map(_offer_message, batch))

    async def GetBlobUrls(
        self,
        request: delivery_pb2.GetBlobUrlsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> delivery_pb2.GetBlobUrlsResponse:
        """Where blobs can be had without passing through here."""
        signed = await self._signing.urls([from_wire(digest) for digest in request.digests])
        return delivery_pb2.GetBlobUrlsResponse(
            urls=[
                delivery_pb2.BlobUrl(
                    digest=to_wire(one.digest), url=one.url, expires_unix_ms=one.expires_unix_ms
                )
                for one in signed
            ]
        )

    async def FetchBlobs(
        self,
        request_iterator: AsyncIterator[delivery_pb2.FetchBlobsRequest],
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> AsyncGenerator[delivery_pb2.FetchBlobsResponse, None]:
        """Many blobs on one stream."""
        stream = BlobStream(self._fetching)
        hearing = asyncio.create_task(_hear(request_iterator, stream))
        try:
            async with contextlib.aclosing(stream.parts()) as parts:
                async for part in parts:
                    yield _response(part)
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)


async def _hear(requests: AsyncIterator[delivery_pb2.FetchBlobsRequest], stream: BlobStream) -> None:
    """Whatever the device says reaches the stream, also that it says nothing more."""
    try:
        async for request in requests:
            if request.want:
                await stream.want([(from_wire(blob.digest), blob.offset_bytes) for blob in request.want])
            if request.cancel:
                stream.cancel([from_wire(digest) for digest in request.cancel])
            if request.taken_bytes:
                stream.took(request.taken_bytes)
    except Exception as error:  # noqa: BLE001  # told to the device by whoever sends to it
        stream.no_more_words(error)
    else:
        stream.no_more_words()


def _response(part: Part) -> delivery_pb2.FetchBlobsResponse:
    response = delivery_pb2.FetchBlobsResponse(
        index=part.index, data=part.data, offset_bytes=part.offset_bytes, end=part.end
    )
    if part.error is not None:
        response.error_code, response.error_detail = part.error.code.value, str(part.error)
    return response


def _offer_message(offer: DeltaOffer) -> delivery_pb2.DeltaOffer:
    return delivery_pb2.DeltaOffer(
        digests=map(to_wire, offer.digests),
        from_digests=map(to_wire, offer.from_digests),
        delta_digest=to_wire(offer.delta_digest),
        delta_size_bytes=offer.delta_size_bytes,
    )
