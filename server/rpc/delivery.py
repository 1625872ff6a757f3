"""DeliveryService: what devices ask."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from common.digest import from_wire, to_wire
from common.errors import ConflictError, InvalidInputError
from server.delivery.delta_pair import DeltaOffer
from server.delivery.deltas import Deltas
from server.delivery.enrol import Enrolment
from server.delivery.fetch import Fetching, manifest_frame
from server.rpc.interceptor import abort_with


class DeliveryServicer(delivery_pb2_grpc.DeliveryServiceServicer):
    """Enrols devices, hands out manifests and blobs, and offers deltas."""

    def __init__(self, enrolment: Enrolment, fetching: Fetching, deltas: Deltas) -> None:
        self._enrolment = enrolment
        self._fetching = fetching
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

    async def FetchBlob(
        self, request: delivery_pb2.FetchBlobRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[delivery_pb2.FetchBlobResponse]:
        """A blob from an offset on."""
        digest, offset_bytes = from_wire(request.digest), request.offset_bytes
        size_bytes = await self._fetching.blob_size_bytes(digest)
        if offset_bytes > size_bytes:
            error = InvalidInputError(f"The blob has {size_bytes} bytes; there is no byte {offset_bytes}.")
            await abort_with(context, error, status=grpc.StatusCode.OUT_OF_RANGE)
        chunks = self._fetching.blob(digest, offset_bytes=offset_bytes, chunk_bytes=request.chunk_size_bytes)
        async for data in chunks:
            yield delivery_pb2.FetchBlobResponse(data=data, offset_bytes=offset_bytes)
            offset_bytes += len(data)

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


def _offer_message(offer: DeltaOffer) -> delivery_pb2.DeltaOffer:
    return delivery_pb2.DeltaOffer(
        digests=map(to_wire, offer.digests),
        from_digests=map(to_wire, offer.from_digests),
        delta_digest=to_wire(offer.delta_digest),
        delta_size_bytes=offer.delta_size_bytes,
    )
