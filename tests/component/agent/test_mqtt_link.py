"""The control link against a real broker: what it says, in which order, and how it comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiomqtt
import pytest
from nestfleet.v1 import control_pb2

from common.addresses import BrokerAddress
from common.topics import Topic, topic_for
from device_agent.link.backoff import Backoff
from device_agent.link.control import Listener
from device_agent.link.mqtt_link import MqttLink
from server.control.broker import EmbeddedBroker
from tests.support.waiting import until


@dataclass
class Device:
    """A link and all that it called."""

    address: BrokerAddress | None = None
    heard: list[tuple[Topic, bytes]] = field(default_factory=list)
    lost: int = 0

    def __post_init__(self) -> None:
        backoff = Backoff(first_seconds=0.1, longest_seconds=0.2)
        self.link = MqttLink("board", "session-1", backoff)

    def on_lost(self) -> None:
        """Somebody asks the server where the broker is, and hears the same as before."""
        self.lost += 1
        self.link.moved()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        listener = Listener(
            lambda topic, payload: self.heard.append((topic, payload)), lambda: self.address, self.on_lost
        )
        task = asyncio.create_task(self.link.run(listener))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


class Ear:
    """Hears everything that the device says."""

    def __init__(self, client: aiomqtt.Client) -> None:
        self.client = client
        self.messages: list[tuple[str, bytes]] = []

    @classmethod
    @asynccontextmanager
    async def at(cls, broker: EmbeddedBroker) -> AsyncIterator[Ear]:
        async with aiomqtt.Client(broker.address.host, broker.address.port) as client:
            ear = cls(client)
            await client.subscribe("nestfleet/v1/devices/+/#", qos=1)
            task = asyncio.create_task(ear._listen())
            try:
                yield ear
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    async def _listen(self) -> None:
        async for message in self.client.messages:
            self.messages.append((message.topic.value.rsplit("/", 1)[-1], bytes(message.payload)))

    def said(self, topic: Topic) -> list[bytes]:
        return [payload for name, payload in self.messages if name == topic.value]

    def online(self) -> bool | None:
        presences = self.said(Topic.PRESENCE)
        return control_pb2.Presence.FromString(presences[-1]).online if presences else None


@pytest.fixture
async def broker() -> AsyncIterator[EmbeddedBroker]:
    broker = await EmbeddedBroker.start("127.0.0.1:0")
    yield broker
    await broker.close()


def address_of(broker: EmbeddedBroker) -> BrokerAddress:
    return BrokerAddress(broker.address.host, broker.address.port)


async def test_it_says_the_newest_of_everything_the_ledger_before_the_state(broker: EmbeddedBroker) -> None:
    device = Device(address_of(broker))
    device.link.publish(Topic.STATE, b"old")
    device.link.publish(Topic.STATE, b"state")
    device.link.publish(Topic.LEDGER, b"ledger")
    async with Ear.at(broker) as ear:
        async with device.running():
            await until(lambda: ear.said(Topic.STATE))
            assert ear.online()
            names = [name for name, _ in ear.messages]
            assert names.index("ledger") < names.index("state")
            assert ear.said(Topic.STATE) == [b"state"]
        await until(lambda: ear.online() is False)


async def test_it_hears_its_own_goals_alone_and_nothing_huge(broker: EmbeddedBroker) -> None:
    device = Device(address_of(broker))
    async with Ear.at(broker) as ear, device.running():
        await until(lambda: device.link.connected)
        for device_id, payload in (("other", b"not mine"), ("board", bytes(100_000)), ("board", b"mine")):
            await ear.client.publish(topic_for(device_id, Topic.ASSIGNMENT), payload, qos=1)
        await until(lambda: device.heard)
        assert device.heard == [(Topic.ASSIGNMENT, b"mine")]


async def test_it_states_everything_anew_at_a_broker_that_forgot() -> None:
    broker = await EmbeddedBroker.start("127.0.0.1:0")
    device = Device(address_of(broker))
    device.link.publish(Topic.STATE, b"state")
    async with device.running():
        async with Ear.at(broker) as ear:
            await until(lambda: ear.said(Topic.STATE))
        await broker.close()
        await until(lambda: device.lost > 0)
        again = await EmbeddedBroker.start("127.0.0.1:0")
        async with Ear.at(again) as ear:
            device.address = address_of(again)
            device.link.moved()
            await until(lambda: ear.said(Topic.STATE))
        device.address = None
    await again.close()


async def test_a_broker_that_is_away_is_not_tried_without_pause() -> None:
    device = Device(BrokerAddress("127.0.0.1", 1))
    async with device.running():
        await until(lambda: device.lost >= 2)
        before, started = device.lost, asyncio.get_running_loop().time()
        await until(lambda: device.lost >= before + 5)
        assert asyncio.get_running_loop().time() - started > 0.4
