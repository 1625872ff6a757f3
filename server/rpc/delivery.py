"""DeliveryService: what devices ask."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from common.digest import from_wire, to_wire
from common.errors import ConflictError, InvalidInputError
from server.delivery.enrol import Enrolment
from server.delivery.fetch import Fetching, manifest_frame
from server.delivery.urls import UrlSigning
from server.rpc.interceptor import abort_with


class DeliveryServicer(delivery_pb2_grpc.DeliveryServiceServicer):
    """Enrols devices and hands out manifests and blobs."""

    def __init__(self, enrolment: Enrolment, fetching: Fetching, signing: UrlSigning) -> None:
        self._enrolment = enrolment
        self._fetching = fetching
        self._signing = signing

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
