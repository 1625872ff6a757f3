"""The Open Inference Protocol over HTTP, and the agent's own status."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from common.errors import CapacityError, Error, InvalidInputError, NotFoundError
from device_agent.inference.answering import AnsweringModel, TensorSpec
from device_agent.serving.oip import MAX_BODY_BYTES, datatype_of, format_response, parse_request
from device_agent.serving.worker import Worker

_LOG: Final = logging.getLogger(__name__)
_BODY_SECONDS: Final = 60.0
_STATUS: Final[tuple[tuple[type[Error], int], ...]] = (
    (InvalidInputError, 400),
    (NotFoundError, 404),
    (CapacityError, 503),
)

Models = Callable[[], Mapping[str, AnsweringModel]]


def create_http_app(
    models: Models, status: Callable[[], dict[str, Any]], *, worker: Worker | None = None
) -> Starlette:
    """The application.

    Args:
        models: Name to the model that answers at the moment; called for each request.
        status: The agent's state, as JSON can carry it.
        worker: Where inference runs; closed with the application.
    """
    endpoints = _Endpoints(models, status, worker or Worker())
    routes = [
        Route("/v2", endpoints.server),
        Route("/v2/health/live", endpoints.live),
        Route("/v2/health/ready", endpoints.ready),
        Route("/nestfleet/status", endpoints.status),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        routes += [
            Route(path, endpoints.model),
            Route(f"{path}/ready", endpoints.model_ready),
            Route(f"{path}/infer", endpoints.infer, methods=["POST"]),
        ]
    return Starlette(
        routes=routes,
        lifespan=endpoints.lifespan,
        exception_handlers={Error: _on_error, HTTPException: _on_http_error, Exception: _on_surprise},
    )


class _Endpoints:
    def __init__(self, models: Models, status: Callable[[], dict[str, Any]], worker: Worker) -> None:
        self._models = models
        self._status = status
        self._worker = worker

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        yield
        self._worker.close()

    async def server(self, _: Request) -> Response:
        return JSONResponse({"name": "nestfleet-agent", "version": _package_version(), "extensions": []})

    async def live(self, _: Request) -> Response:
        return JSONResponse({"live": True})

    async def ready(self, _: Request) -> Response:
        ready = bool(self._models())
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    async def status(self, _: Request) -> Response:
        return JSONResponse(self._status())

    async def model(self, request: Request) -> Response:
        model = self._find(request)
        return JSONResponse(
            {
                "name": model.name,
                "versions": [str(model.version)],
                "platform": "nestfleet",
                "inputs": [_spec(spec) for spec in model.inputs],
                "outputs": [_spec(spec) for spec in model.outputs],
            }
        )

    async def model_ready(self, request: Request) -> Response:
        return JSONResponse({"name": self._find(request).name, "ready": True})

    async def infer(self, request: Request) -> Response:
        model = self._find(request)
        body = await _read_body(request)
        answer = await self._worker.run(lambda: _answer(model, body))
        return Response(answer, media_type="application/json")

    def _find(self, request: Request) -> AnsweringModel:
        name, wanted = request.path_params["name"], request.path_params.get("version")
        model = self._models().get(name)
        if model is None:
            raise NotFoundError(f"No model {name[:80]!r} answers here.")
        if wanted not in {None, str(model.version)}:
            raise NotFoundError(f"Model {name!r} answers here as version {model.version}, not {wanted[:20]}.")
        return model


def _answer(model: AnsweringModel, body: bytes) -> bytes:
    request = parse_request(body)
    known = [spec.name for spec in model.outputs]
    unknown = [name for name in request.outputs if name not in known]
    if unknown:
        raise InvalidInputError(f"There is no output {unknown[0]!r:.80}; the model gives {known}.")
    answer = model.infer(request.inputs)
    wanted = request.outputs or tuple(answer.outputs)
    return format_response(
        model=model.name,
        version=model.version,
        request_id=request.request_id,
        outputs={name: answer.outputs[name] for name in wanted},
        level=answer.level,
    )


async def _read_body(request: Request) -> bytes:
    """The body, refused at the first byte too much, whatever its header says."""
    chunks, size_bytes = [], 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                size_bytes += len(chunk)
                if size_bytes > MAX_BODY_BYTES:
                    raise HTTPException(413, f"A request has at most {MAX_BODY_BYTES} bytes.")
                chunks.append(chunk)
    except (TimeoutError, ClientDisconnect) as error:
        raise HTTPException(408, "The request did not come to its end.") from error
    return b"".join(chunks)


def _spec(spec: TensorSpec) -> dict[str, Any]:
    datatype = datatype_of(spec.dtype) if spec.dtype is not None else ""
    return {"name": spec.name, "datatype": datatype, "shape": [-1 if s is None else s for s in spec.shape]}


def _package_version() -> str:
    try:
        return version("nestfleet")
    except PackageNotFoundError:
        return "unknown"


async def _on_error(_: Request, error: Exception) -> Response:
    code = next((status for kind, status in _STATUS if isinstance(error, kind)), 500)
    return JSONResponse({"error": str(error)}, status_code=code)


async def _on_http_error(_: Request, error: Exception) -> Response:
    code = error.status_code if isinstance(error, HTTPException) else 500
    return JSONResponse({"error": getattr(error, "detail", "")}, status_code=code)


async def _on_surprise(_: Request, error: Exception) -> Response:
    _LOG.error("a request failed", exc_info=error)
    return JSONResponse({"error": "An error inside the agent; its log says more."}, status_code=500)
