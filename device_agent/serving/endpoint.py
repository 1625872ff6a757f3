"""Where applications on the board ask: HTTP and gRPC before one service, opened and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from common.addresses import parse_host_port
from device_agent.serving.grpc.server import serve_grpc
from device_agent.serving.http.app import create_http_app
from device_agent.serving.http.server import serve_http
from device_agent.serving.service import Service

_GRACE_SECONDS: Final = 5.0
_CALL_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where it answers.

    Attributes:
        http_url: With the port that it got.
        grpc_address: ``HOST:PORT``; empty where gRPC is off.
    """

    http_url: str
    grpc_address: str


@asynccontextmanager
async def open_endpoint(
    service: Service, *, http_listen: str, grpc_listen: str = ""
) -> AsyncIterator[Endpoint]:
    """The service answers within the block.

    At its end what runs is answered, within five seconds; what waits and what comes meanwhile is told that
    the agent is shutting down. Then the ports are given back.

    Args:
        service: What answers; closed with the endpoint.
        http_listen: ``HOST:PORT``; port 0 for any that is free.
        grpc_listen: Likewise; empty for none.

    Raises:
        ConfigError: An address cannot be bound.
    """
    host, port = parse_host_port(http_listen)
    http = await serve_http(create_http_app(service), host, port)
    grpc = None
    try:
        if grpc_listen:
            grpc = await serve_grpc(service, grpc_listen)
        yield Endpoint(http.url, grpc.address if grpc is not None else "")
    finally:
        service.close()
        await service.until_idle(_GRACE_SECONDS)
        await asyncio.gather(http.close(), *([grpc.close(_CALL_SECONDS)] if grpc is not None else []))
        service.off_loop.close()
