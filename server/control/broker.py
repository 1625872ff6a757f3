"""A broker in the server's own process, for trials: amqtt, with what it gets wrong put right here.

It keeps nothing over a restart and suits up to about a hundred devices; DESIGN.md names the brokers for more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator
from typing import Any, Final

from amqtt.broker import Broker
from amqtt.contexts import BrokerConfig, ListenerConfig
from amqtt.errors import AMQTTError, BrokerError

from common.addresses import BrokerAddress, join_host_port, parse_host_port, reachable_host
from common.errors import ConflictError

_AUTHENTICATION: Final = "amqtt.plugins.authentication.AnonymousAuthPlugin"
_STOP_SECONDS: Final = 2.0


class EmbeddedBroker:
    """A running MQTT 3.1.1 broker on this process' event loop."""

    def __init__(self, broker: Broker, address: BrokerAddress) -> None:
        self._broker = broker
        self.address = address

    @classmethod
    async def start(cls, listen: str) -> EmbeddedBroker:
        """A broker that accepts connections.

        Args:
            listen: ``HOST:PORT``; port 0 lets the system choose.

        Raises:
            ConflictError: The address cannot be listened on.
        """
        host, port = parse_host_port(listen)
        _quieten(logging.CRITICAL)  # what stops it from starting is told by the error below
        broker = _Broker(
            BrokerConfig(
                listeners={"default": ListenerConfig(bind=join_host_port(host, port))},
                plugins={_AUTHENTICATION: {"allow_anonymous": True}},
            )
        )
        try:
            await broker.start()
        except (AMQTTError, BrokerError) as error:
            raise ConflictError(
                f"The broker cannot listen on {listen}: {error.__cause__ or error}.",
                advice="Choose a free address (broker_listen), or name a running broker (broker_url).",
            ) from error
        _quieten(logging.ERROR)
        return cls(broker, BrokerAddress(reachable_host(host), broker.port))

    async def close(self) -> None:
        """Every client is cut, the port is free."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._broker.shutdown(), _STOP_SECONDS)
        await self._broker.cut_all()


class _Broker(Broker):  # type: ignore[misc]  # amqtt is not typed
    def __init__(self, config: BrokerConfig) -> None:
        super().__init__(config)
        # amqtt walks this over awaits: without a snapshot a client that connects meanwhile ends the walk with
        # an error, and with it somebody's message or session.
        self._subscriptions = _SnapshotDict()
        self._connections: dict[asyncio.Task[Any], asyncio.StreamWriter] = {}

    @property
    def port(self) -> int:
        """The port that is listened on."""
        return int(self._servers["default"].instance.sockets[0].getsockname()[1])

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one client; amqtt itself leaves some connections open."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  # asyncio starts a task for each client
        self._connections[task] = writer
        try:
            await super().stream_connected(reader, writer, listener_name)
        finally:
            del self._connections[task]
            writer.close()

    async def cut_all(self) -> None:
        """No client is connected, and nothing of one is left on the event loop."""
        tasks = list(self._connections)
        for writer in self._connections.values():
            writer.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Any
    ) -> None:
        # At a connection amqtt calls this for everybody's subscriptions: all would get everything.
        holders = self._subscriptions.get(subscription[0], ())
        if any(holder is session for holder, _ in holders):
            await super()._publish_retained_messages_for_subscription(subscription, session)


def _quieten(level: int) -> None:
    for name in ("amqtt", "transitions"):
        logging.getLogger(name).setLevel(level)


class _SnapshotDict(dict[str, Any]):
    """A dict that may change while it is walked; the walk sees it as it was."""

    def __iter__(self) -> Iterator[str]:
        return iter(list(super().keys()))

    def items(self) -> Any:
        """The items as they are now."""
        return list(super().items())
