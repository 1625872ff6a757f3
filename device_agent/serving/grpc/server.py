"""grpc.aio's server within the agent's own event loop, with limits on whatever a client chooses."""

from __future__ import annotations

from typing import Final

import grpc
from nestfleet.oip import open_inference_pb2_grpc as oip_grpc

from common.addresses import join_host_port, parse_host_port
from common.channel import SERVER_OPTIONS
from common.errors import ConfigError
from device_agent.serving.grpc.reading import READ_SECONDS, Reading
from device_agent.serving.grpc.servicer import InferenceServicer
from device_agent.serving.protocol.limits import MAX_REQUEST_BYTES
from device_agent.serving.service import Service

MAX_CALLS: Final = 128
MAX_CONNECTIONS: Final = 128
_OPTIONS: Final = tuple(
    {
        **dict(SERVER_OPTIONS),
        "grpc.max_receive_message_length": MAX_REQUEST_BYTES,
        "grpc.max_send_message_length": -1,
        "grpc.max_metadata_size": 16 * 1024,
        "grpc.max_concurrent_streams": MAX_CALLS,
        "grpc.max_allowed_incoming_connections": MAX_CONNECTIONS,
        "grpc.max_connection_idle_ms": 300_000,
        "grpc.server_handshake_timeout_ms": 10_000,
    }.items()
)


class GrpcServer:
    """A server that accepts calls; made by ``serve_grpc``.

    Attributes:
        address: ``HOST:PORT`` where it answers, with the port that it got.
    """

    def __init__(self, address: str, server: grpc.aio.Server) -> None:
        self.address = address
        self._server = server

    async def close(self, grace_seconds: float) -> None:
        """No calls are accepted any more; those at hand have so long to end, then they are cut."""
        await self._server.stop(grace_seconds)


async def serve_grpc(service: Service, listen: str, *, read_seconds: float = READ_SECONDS) -> GrpcServer:
    """Serve until ``close``.

    Args:
        service: What answers.
        listen: ``HOST:PORT``; port 0 for any that is free.
        read_seconds: How long a call's message may take to come.

    Raises:
        ConfigError: The address cannot be bound.
    """
    reading = Reading(service.off_loop, read_seconds=read_seconds)
    server = grpc.aio.server(interceptors=[reading], options=_OPTIONS, maximum_concurrent_rpcs=MAX_CALLS)
    oip_grpc.add_GRPCInferenceServiceServicer_to_server(InferenceServicer(service), server)
    host, _ = parse_host_port(listen)
    try:
        port = server.add_insecure_port(listen)
    except RuntimeError as error:
        raise ConfigError(
            f"{listen} cannot be bound for gRPC.", advice="Choose another address (grpc_listen), or port 0."
        ) from error
    await server.start()
    return GrpcServer(join_host_port(host, port), server)
