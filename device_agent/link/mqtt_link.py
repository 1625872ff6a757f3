"""The control plane over MQTT 3.1.1. Comes back by itself, and states everything anew when it does."""

from __future__ import annotations

import asyncio
import logging
import ssl
from typing import Final

import aiomqtt
from nestfleet.v1 import control_pb2

from common.addresses import BrokerAddress
from common.topics import Topic, parse_topic, topic_for
from device_agent.link.backoff import Backoff
from device_agent.link.control import Listener
from device_agent.link.messages import MAX_PAYLOAD_BYTES

_KEEPALIVE_SECONDS: Final = 15
_ANSWER_SECONDS: Final = 10.0
_GOODBYE_SECONDS: Final = 2.0
_QUEUED_MESSAGES: Final = 64
_STEADY_SECONDS: Final = 30.0
# A broker that restarted, or heard an old session's last will late, retains something wrong until then.
_PRESENCE_SECONDS: Final = 30.0
_QOS: Final = 1
_GOALS: Final = (Topic.ASSIGNMENT, Topic.LIMITS)
# The ledger goes first, so that nobody sees a version in place whose bytes are not counted yet.
_FACTS: Final = (Topic.LEDGER, Topic.STATE)
_log = logging.getLogger(__name__)


class MqttLink:
    """Implements ``ControlLink``.

    Args:
        device_id: Of this device.
        session_id: Random per process.
        backoff: Waits between two tries.
    """

    def __init__(self, device_id: str, session_id: str, backoff: Backoff) -> None:
        self._device_id = device_id
        self._session_id = session_id
        self._backoff = backoff
        self._facts: dict[Topic, bytes] = {}
        self._unsent: set[Topic] = set()
        self._work = asyncio.Event()
        self._moved = asyncio.Event()
        self._connected = False
        self._announced_seconds = 0.0

    @property
    def connected(self) -> bool:
        """Whether the broker is there, as far as is known."""
        return self._connected

    def publish(self, topic: Topic, payload: bytes) -> None:
        """The broker retains the payload as soon as it can."""
        self._facts[topic] = payload
        self._unsent.add(topic)
        self._work.set()

    def moved(self) -> None:
        """Somebody told where the broker is: try at once, unless connected."""
        self._moved.set()

    async def run(self, listener: Listener) -> None:
        """Serve until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            self._moved.clear()
            address = listener.where()
            if address is None:
                await self._moved.wait()
                continue
            started_seconds = loop.time()
            try:
                await self._session(address, listener)
            except (aiomqtt.MqttError, OSError, ValueError) as error:
                _log.warning("No broker at %s: %s", address, error)
            finally:
                self._connected = False
            if loop.time() - started_seconds > _STEADY_SECONDS:
                self._backoff.reset()
            listener.on_lost()
            await self._pause(self._backoff.next_seconds(), address, listener)

    async def _pause(self, seconds: float, address: BrokerAddress, listener: Listener) -> None:
        """Wait, but no longer than the broker is where it was not found."""
        try:
            async with asyncio.timeout(seconds):
                while listener.where() == address:
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            return

    async def _session(self, address: BrokerAddress, listener: Listener) -> None:
        async with self._client(address) as client:
            for topic in _GOALS:
                await client.subscribe(topic_for(self._device_id, topic), qos=_QOS)
            await self._announce(client, online=True)
            _log.info("Connected to the broker at %s", address)
            self._connected = True
            self._unsent = set(self._facts)
            self._work.set()
            sending = asyncio.create_task(self._send(client), name="mqtt-send")
            receiving = asyncio.create_task(self._receive(client, listener), name="mqtt-receive")
            try:
                done, _ = await asyncio.wait({sending, receiving}, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
            except asyncio.CancelledError:
                await self._goodbye(client)
                raise
            finally:
                for task in (sending, receiving):
                    task.cancel()
                await asyncio.gather(sending, receiving, return_exceptions=True)

    async def _receive(self, client: aiomqtt.Client, listener: Listener) -> None:
        async for message in client.messages:
            place = parse_topic(message.topic.value)
            payload = bytes(message.payload)
            if place is None or place.device_id != self._device_id or place.topic not in _GOALS:
                continue
            if len(payload) > MAX_PAYLOAD_BYTES:
                _log.warning("Ignored a message of %d bytes on %s", len(payload), message.topic)
                continue
            listener.on_message(place.topic, payload)

    async def _send(self, client: aiomqtt.Client) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            for topic in _FACTS:
                if topic in self._unsent:
                    self._unsent.discard(topic)
                    await self._put(client, topic, self._facts[topic])
            if asyncio.get_running_loop().time() - self._announced_seconds > _PRESENCE_SECONDS:
                await self._announce(client, online=True)

    async def _announce(self, client: aiomqtt.Client, *, online: bool) -> None:
        self._announced_seconds = asyncio.get_running_loop().time()
        await self._put(client, Topic.PRESENCE, self._presence(online=online))

    async def _put(self, client: aiomqtt.Client, topic: Topic, payload: bytes) -> None:
        await client.publish(topic_for(self._device_id, topic), payload, qos=_QOS, retain=True)

    async def _goodbye(self, client: aiomqtt.Client) -> None:
        """What waits is sent, and that the device goes; a broker that does not answer is left alone."""
        try:
            async with asyncio.timeout(_GOODBYE_SECONDS):
                for topic in _FACTS:
                    if topic in self._unsent:
                        await self._put(client, topic, self._facts[topic])
                await self._announce(client, online=False)
        except (aiomqtt.MqttError, TimeoutError):
            _log.info("The broker did not take the goodbye")

    def _presence(self, *, online: bool) -> bytes:
        return control_pb2.Presence(
            device_id=self._device_id, session_id=self._session_id, online=online
        ).SerializeToString()

    def _client(self, address: BrokerAddress) -> aiomqtt.Client:
        return aiomqtt.Client(
            address.host,
            address.port,
            username=address.username,
            password=address.password,
            # Not the device id alone: a broker may not let a new connection take an old one's place.
            identifier=f"nestfleet-{self._device_id}-{self._session_id[:8]}",
            will=aiomqtt.Will(
                topic_for(self._device_id, Topic.PRESENCE), self._presence(online=False), _QOS, retain=True
            ),
            clean_session=True,
            keepalive=_KEEPALIVE_SECONDS,
            timeout=_ANSWER_SECONDS,
            max_queued_incoming_messages=_QUEUED_MESSAGES,
            tls_context=ssl.create_default_context() if address.tls else None,
        )
