"""The Open Inference Protocol over HTTP, Prometheus' metrics, and the agent's own status."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from device_agent.inference.answering import AnsweringModel
from device_agent.serving.http import inferring
from device_agent.serving.http.errors import HANDLERS, UNAVAILABLE
from device_agent.serving.metrics import CONTENT_TYPE
from device_agent.serving.protocol.describing import (
    describe_config,
    describe_index,
    describe_model,
    describe_server,
)
from device_agent.serving.service import Service


def create_http_app(service: Service) -> Starlette:
    """The application.

    Args:
        service: What answers; whoever made it closes it.
    """
    endpoints = _Endpoints(service)
    routes = [
        Route("/v2", endpoints.server),
        Route("/v2/health/live", endpoints.live),
        Route("/v2/health/ready", endpoints.ready),
        Route("/v2/repository/index", endpoints.index, methods=["POST"]),
        Route("/v2/models/stats", endpoints.all_statistics),
        Route("/metrics", endpoints.metrics),
        Route("/nestfleet/status", endpoints.status),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route(path, endpoints.model),
            Route(f"{path}/ready", endpoints.model_ready),
            Route(f"{path}/config", endpoints.config),
            Route(f"{path}/stats", endpoints.statistics),
            Route(f"{path}/infer", endpoints.infer, methods=["POST"]),
        ]
    return Starlette(routes=routes, exception_handlers=HANDLERS)


class _Endpoints:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def server(self, _: Request) -> Response:
        return JSONResponse(describe_server())

    async def live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        ready = self._service.ready
        return JSONResponse({"ready": ready}, status_code=200 if ready else UNAVAILABLE)

    async def index(self, _: Request) -> Response:
        return JSONResponse(describe_index(self._service.models()))

    async def metrics(self, _: Request) -> Response:
        return Response(self._service.metrics.text(), headers={"Content-Type": CONTENT_TYPE})

    async def status(self, _: Request) -> Response:
        return JSONResponse(self._service.status())

    async def model(self, request: Request) -> Response:
        return JSONResponse(describe_model(self._find(request)))

    async def model_ready(self, request: Request) -> Response:
        name, ready = self._find(request).name, self._service.ready
        return JSONResponse({"name": name, "ready": ready}, status_code=200 if ready else UNAVAILABLE)

    async def config(self, request: Request) -> Response:
        return JSONResponse(describe_config(self._find(request)))

    async def statistics(self, request: Request) -> Response:
        return JSONResponse(self._service.statistics([self._find(request)]))

    async def all_statistics(self, _: Request) -> Response:
        return JSONResponse(self._service.statistics(self._service.models()))

    async def infer(self, request: Request) -> Response:
        return await inferring.infer(self._service, request)

    def _find(self, request: Request) -> AnsweringModel:
        return self._service.find(request.path_params["name"], request.path_params.get("version", ""))
