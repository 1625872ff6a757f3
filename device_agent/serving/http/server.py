"""uvicorn inside the agent's own event loop: bound before it starts, quiet, and hands off the signals."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Collection, Generator
from typing import Final

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from common.addresses import join_host_port
from common.errors import ConfigError
from device_agent.serving.http.connection import Connection
from device_agent.serving.http.errors import UNAVAILABLE, error_response

MAX_REQUESTS: Final = 128
_CLOSE_SECONDS: Final = 3


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.accepting = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell that connections are accepted now."""
        await super().startup(sockets=sockets)
        self.accepting.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to the agent."""
        yield


class _Bounded:
    """An application that refuses requests while there are too many connections, and says so."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.connections: Collection[object] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if len(self.connections) > MAX_REQUESTS:
            app = error_response(UNAVAILABLE, f"More than {MAX_REQUESTS} connections are open.", close=True)
        await app(scope, receive, send)


class HttpServer:
    """A server that accepts requests; made by ``serve_http``.

    Attributes:
        url: Where it answers, with the port that it got.
    """

    def __init__(self, url: str, server: uvicorn.Server, task: asyncio.Task[None]) -> None:
        self.url = url
        self._server = server
        self._task = task

    async def close(self) -> None:
        """Finish the requests at hand, for three seconds at most, and give the port back."""
        self._server.should_exit = True
        await self._task


async def serve_http(app: Starlette, host: str, port: int) -> HttpServer:
    """Serve an application until ``close``.

    Args:
        app: What answers.
        host: Address or name to bind.
        port: 0 for any that is free.

    Raises:
        ConfigError: The address cannot be bound.
    """
    listener = _bind(host, port)
    bounded = _Bounded(app)
    config = uvicorn.Config(
        bounded,
        http=Connection,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=_CLOSE_SECONDS,
        ws="none",
    )
    server = _Server(config)
    bounded.connections = server.server_state.connections
    task = asyncio.create_task(server.serve(sockets=[listener]), name="http")
    accepting = asyncio.create_task(server.accepting.wait())
    await asyncio.wait([task, accepting], return_when=asyncio.FIRST_COMPLETED)
    accepting.cancel()
    if task.done():
        await task
        raise ConfigError(f"The HTTP server could not start on {host}:{port}.")
    bound_port = listener.getsockname()[1]
    return HttpServer(f"http://{join_host_port(host, bound_port)}", server, task)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=MAX_REQUESTS)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"{host}:{port} cannot be bound: {error}.", advice="Choose another address, or port 0 for any."
        ) from error
    # Connections inherit it. Else the body waits for the client to acknowledge the headers: 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
