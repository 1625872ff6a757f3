"""CatalogService: what the registry holds."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
from nestfleet.v1 import catalog_pb2, catalog_pb2_grpc

from common.errors import InvalidInputError
from common.names import check_name
from server.delivery.fetch import manifest_frame
from server.registry.repository import Registry
from server.rpc.convert import version_message

_MAX_VERSIONS = 1000


class CatalogServicer(catalog_pb2_grpc.CatalogServiceServicer):
    """Answers operators from the registry."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def ListModels(
        self,
        request: catalog_pb2.ListModelsRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> catalog_pb2.ListModelsResponse:
        """Every version, newest first."""
        records = await asyncio.to_thread(self._registry.list_versions, limit=_MAX_VERSIONS)
        return catalog_pb2.ListModelsResponse(versions=[version_message(record) for record in records])

    async def GetVersion(
        self,
        request: catalog_pb2.GetVersionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> catalog_pb2.GetVersionResponse:
        """One version with its manifest."""
        ref = request.ref
        check_name(ref.model, what="model")
        record = await asyncio.to_thread(self._registry.get_version, ref.model, ref.version)
        manifest = await asyncio.to_thread(self._registry.get_manifest, record.manifest_digest)
        return catalog_pb2.GetVersionResponse(
            version=version_message(record), manifest_zstd=manifest_frame(manifest)
        )

    async def DeleteVersion(
        self,
        request: catalog_pb2.DeleteVersionRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> catalog_pb2.DeleteVersionResponse:
        """Withdraws a version."""
        ref = request.ref
        check_name(ref.model, what="model")
        if not ref.version:
            raise InvalidInputError("A version is deleted by its number.", advice=f"Name {ref.model}:NUMBER.")
        await asyncio.to_thread(self._registry.delete_version, ref.model, ref.version)
        return catalog_pb2.DeleteVersionResponse()
