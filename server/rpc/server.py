"""The gRPC server: our services behind the error interceptor, health and reflection beside them."""

from __future__ import annotations

from typing import Final

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from nestfleet.v1 import (
    catalog_pb2,
    catalog_pb2_grpc,
    delivery_pb2,
    delivery_pb2_grpc,
    fleet_pb2,
    fleet_pb2_grpc,
    publish_pb2,
    publish_pb2_grpc,
)

from common.addresses import join_host_port, parse_host_port, reachable_host
from common.channel import SERVER_OPTIONS
from common.errors import ConflictError
from server.rpc.catalog import CatalogServicer
from server.rpc.delivery import DeliveryServicer
from server.rpc.fleet import FleetServicer
from server.rpc.interceptor import ErrorInterceptor
from server.rpc.publish import PublishServicer

SERVICES: Final = tuple(
    module.DESCRIPTOR.services_by_name[name].full_name
    for module, name in (
        (catalog_pb2, "CatalogService"),
        (delivery_pb2, "DeliveryService"),
        (fleet_pb2, "FleetService"),
        (publish_pb2, "PublishService"),
    )
)
_GRACE_SECONDS: Final = 1.0


class RpcServer:
    """Serves on one address.

    Args:
        catalog, delivery, fleet, publish: What answers.
    """

    def __init__(
        self,
        catalog: CatalogServicer,
        delivery: DeliveryServicer,
        fleet: FleetServicer,
        publish: PublishServicer,
    ) -> None:
        self._server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=SERVER_OPTIONS)
        self._health = health.aio.HealthServicer()
        catalog_pb2_grpc.add_CatalogServiceServicer_to_server(catalog, self._server)
        delivery_pb2_grpc.add_DeliveryServiceServicer_to_server(delivery, self._server)
        fleet_pb2_grpc.add_FleetServiceServicer_to_server(fleet, self._server)
        publish_pb2_grpc.add_PublishServiceServicer_to_server(publish, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )

    async def start(self, listen: str) -> str:
        """The services answer and say that they are healthy.

        Args:
            listen: ``HOST:PORT``; port 0 lets the system choose.

        Returns:
            An address to reach them from this machine.

        Raises:
            ConflictError: The address cannot be listened on.
        """
        host, _ = parse_host_port(listen)
        try:
            port = self._server.add_insecure_port(listen)
        except RuntimeError as error:
            raise ConflictError(
                f"The server cannot listen on {listen}.",
                advice="Stop what listens there, or choose another address (listen).",
            ) from error
        await self._server.start()
        for service in ("", *SERVICES):
            await self._health.set(service, health_pb2.HealthCheckResponse.SERVING)
        return join_host_port(reachable_host(host), port)

    async def stop(self) -> None:
        """New calls are refused, running ones have had a moment to end, then they are cut."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(_GRACE_SECONDS)
