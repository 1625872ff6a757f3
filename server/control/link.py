"""The server's connection to the broker: comes back by itself, for ever."""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import aiomqtt

from common.addresses import BrokerAddress
from common.errors import LinkError
from server.control.mailbox import Mailbox

MAX_QUEUED_TOPICS: Final = 20_000
_FIRST_WAIT_SECONDS: Final = 0.25
_LONGEST_WAIT_SECONDS: Final = 15.0
_CONNECT_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 5.0
_STEADY_SECONDS: Final = 30.0
_KEEPALIVE_SECONDS: Final = 15
_QOS: Final = 1
_log = logging.getLogger(__name__)


class BrokerLink:
    """Publishes retained messages and hands over what arrives.

    Args:
        address: The broker.
        filters: What to subscribe to at every connection.
        on_open: Awaited at every connection, before anything can arrive.
        on_connect: Awaited at every connection beside the reading, tried again until it succeeds.
        on_message: Awaited for one message at a time: topic and payload.
    """

    def __init__(
        self,
        address: BrokerAddress,
        filters: Sequence[str],
        *,
        on_open: Callable[[], Awaitable[None]],
        on_connect: Callable[[], Awaitable[None]],
        on_message: Callable[[str, bytes], Awaitable[None]],
    ) -> None:
        self._address = address
        self._filters = tuple(filters)
        self._on_open = on_open
        self._on_connect = on_connect
        self._on_message = on_message
        self._client: aiomqtt.Client | None = None

    @property
    def connected(self) -> bool:
        """Whether the broker is there, as far as is known."""
        return self._client is not None

    async def run(self) -> None:
        """Hold the connection until cancelled; losing it, or never getting it, is no error."""
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            started = loop.time()
            try:
                await self._session()
            except (aiomqtt.MqttError, OSError) as error:
                _log.warning("No broker at %s: %s", self._address, error)
            except Exception:  # noqa: BLE001  # a server without its broker is half a server
                _log.exception("The connection to the broker at %s failed", self._address)
            attempt = 0 if loop.time() - started > _STEADY_SECONDS else attempt + 1
            await asyncio.sleep(wait_before(attempt, random.random()))  # noqa: S311  # jitter, no secret

    async def publish(self, topic: str, payload: bytes) -> None:
        """The broker has the retained message; an empty payload takes the retained one away.

        Raises:
            LinkError: The broker is away or does not confirm.
        """
        client = self._client
        if client is None:
            raise LinkError(f"The broker at {self._address} is away.")
        try:
            await client.publish(topic, payload, qos=_QOS, retain=True)
        except aiomqtt.MqttError as error:
            raise LinkError(f"The broker at {self._address} did not take a message: {error}.") from error

    async def _session(self) -> None:
        async with self._new_client() as client:
            await self._open()
            for name in self._filters:
                await client.subscribe(name, qos=_QOS)
            _log.info("Connected to the broker at %s", self._address)
            self._client = client
            greeting = asyncio.create_task(self._greet())
            try:
                async for message in client.messages:
                    await self._on_message(message.topic.value, message.payload)
            finally:
                self._client = None
                greeting.cancel()
                await asyncio.wait([greeting])

    async def _open(self) -> None:
        try:
            await self._on_open()
        except Exception:  # noqa: BLE001  # the connection is worth more than what it was prepared for
            _log.exception("The connection to the broker could not be prepared")

    async def _greet(self) -> None:
        attempt = 0
        while True:
            try:
                await self._on_connect()
            except LinkError as error:
                _log.info("The broker went away while goals were stated: %s", error)
            except Exception:  # noqa: BLE001  # whatever it is, devices must get their goals
                _log.exception("Goals could not be stated; trying again")
                await asyncio.sleep(wait_before(attempt := attempt + 1, random.random()))  # noqa: S311
                continue
            return

    def _new_client(self) -> aiomqtt.Client:
        # A new name for each connection: some brokers do not drop the old one when it comes back too early.
        client = aiomqtt.Client(
            self._address.host,
            self._address.port,
            identifier=f"nestfleet-server-{secrets.token_hex(8)}",
            username=self._address.username,
            password=self._address.password,
            tls_params=aiomqtt.TLSParameters() if self._address.tls else None,
            timeout=_ANSWER_SECONDS,
            keepalive=_KEEPALIVE_SECONDS,
            queue_type=Mailbox,
            max_queued_incoming_messages=MAX_QUEUED_TOPICS,
        )
        # paho connects in a thread, which a stopping process waits for; aiomqtt has no name for this limit.
        client._client.connect_timeout = _CONNECT_SECONDS  # noqa: SLF001
        return client


def wait_before(attempt: int, jitter: float) -> float:
    """Seconds before a try: doubled each time up to a limit, half of it by chance.

    Args:
        attempt: Failures in a row.
        jitter: In [0, 1).
    """
    longest: float = min(_FIRST_WAIT_SECONDS * 2 ** min(attempt, 16), _LONGEST_WAIT_SECONDS)
    return longest * (0.5 + 0.5 * jitter)
