"""The Open Inference Protocol's service."""

from __future__ import annotations

from google.protobuf.json_format import ParseDict
from nestfleet.oip import open_inference_pb2 as oip
from nestfleet.oip import open_inference_pb2_grpc as oip_grpc

from common.errors import NotFoundError
from device_agent.serving.grpc.answers import to_message
from device_agent.serving.grpc.errors import Context
from device_agent.serving.grpc.requests import parse_message
from device_agent.serving.protocol.describing import (
    describe_config,
    describe_index,
    describe_model,
    describe_server,
)
from device_agent.serving.service import Service


class InferenceServicer(oip_grpc.GRPCInferenceServiceServicer):
    """Answers what HTTP answers, from the same service; ``told`` passes on what it raises.

    Args:
        service: What answers; whoever made it closes it.
    """

    def __init__(self, service: Service) -> None:
        self._service = service

    async def ServerLive(self, request: oip.ServerLiveRequest, context: Context) -> oip.ServerLiveResponse:
        """That this answers says it."""
        return oip.ServerLiveResponse(live=True)

    async def ServerReady(self, request: oip.ServerReadyRequest, context: Context) -> oip.ServerReadyResponse:
        """Whether any model answers."""
        return oip.ServerReadyResponse(ready=self._service.ready)

    async def ModelReady(self, request: oip.ModelReadyRequest, context: Context) -> oip.ModelReadyResponse:
        """Whether this one does; one that nobody knows is not ready."""
        try:
            self._service.find(request.name, request.version)
        except NotFoundError:
            return oip.ModelReadyResponse(ready=False)
        return oip.ModelReadyResponse(ready=self._service.ready)

    async def ServerMetadata(
        self, request: oip.ServerMetadataRequest, context: Context
    ) -> oip.ServerMetadataResponse:
        """The agent's metadata."""
        return ParseDict(describe_server(), oip.ServerMetadataResponse())

    async def ModelMetadata(
        self, request: oip.ModelMetadataRequest, context: Context
    ) -> oip.ModelMetadataResponse:
        """A model's metadata."""
        model = self._service.find(request.name, request.version)
        return ParseDict(describe_model(model), oip.ModelMetadataResponse())

    async def ModelConfig(self, request: oip.ModelConfigRequest, context: Context) -> oip.ModelConfigResponse:
        """A model's configuration."""
        config = describe_config(self._service.find(request.name, request.version))
        return ParseDict({"config": config}, oip.ModelConfigResponse())

    async def ModelStatistics(
        self, request: oip.ModelStatisticsRequest, context: Context
    ) -> oip.ModelStatisticsResponse:
        """Counts of a model, or of all."""
        service = self._service
        models = [service.find(request.name, request.version)] if request.name else service.models()
        return ParseDict(service.statistics(models), oip.ModelStatisticsResponse())

    async def RepositoryIndex(
        self, request: oip.RepositoryIndexRequest, context: Context
    ) -> oip.RepositoryIndexResponse:
        """The models that answer."""
        return ParseDict({"models": describe_index(self._service.models())}, oip.RepositoryIndexResponse())

    async def ModelInfer(self, request: oip.ModelInferRequest, context: Context) -> oip.ModelInferResponse:
        """An answer."""
        service = self._service
        with (
            service.asked(request.model_name, request.model_version, "grpc") as asked,
            service.allowance.claim() as claim,
        ):
            size_bytes = request.ByteSize()
            claim.add(size_bytes)
            read = await service.off_loop.run(lambda: parse_message(request), size_bytes)
            reply = await service.infer(asked, read)
            answer_bytes = sum(array.nbytes for array in reply.outputs.values())
            return await service.off_loop.run(lambda: to_message(reply, read), answer_bytes)
