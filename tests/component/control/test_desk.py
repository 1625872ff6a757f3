from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiomqtt
import pytest
from nestfleet.v1 import catalog_pb2, control_pb2

from common.addresses import BrokerAddress, parse_broker_url
from common.clock import SystemClock
from common.errors import ConflictError
from common.topics import Topic, topic_for
from server.control.broker import EmbeddedBroker
from server.control.desk import Desk
from server.registry.repository import Registry
from tests.support.factories import make_version
from tests.support.ports import kept_port
from tests.support.waiting import until

# Of their own for each run: a broker outside keeps what earlier runs left.
KITCHEN = f"kitchen-{secrets.token_hex(4)}"
CELLAR = f"cellar-{secrets.token_hex(4)}"
STATE = topic_for(KITCHEN, Topic.STATE)
PRESENCE = topic_for(KITCHEN, Topic.PRESENCE)
ASSIGNMENT = topic_for(KITCHEN, Topic.ASSIGNMENT)
LIMITS = topic_for(KITCHEN, Topic.LIMITS)


# E.g. mosquitto: mqtt://127.0.0.1:1883. Without it the embedded broker alone is tested.
OUTSIDE = os.environ.get("NESTFLEET_TEST_BROKER_URL")


@pytest.fixture(params=["embedded", "outside"] if OUTSIDE else ["embedded"])
async def broker(request: pytest.FixtureRequest) -> AsyncIterator[BrokerAddress]:
    if request.param == "embedded":
        async with broker_on() as address:
            yield address
        return
    assert OUTSIDE
    address = parse_broker_url(OUTSIDE)
    yield address
    async with device_at(address) as device:
        for topic in Topic:
            await device.publish(topic_for(KITCHEN, topic), b"", qos=1, retain=True)


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    registry = Registry.open(f"sqlite:///{tmp_path / 'registry.sqlite'}")
    registry.enrol(KITCHEN, "0" * 64, "0.1.0", "linux/x86_64", 1)
    registry.add_version("digits", make_version("digits"))
    return registry


@asynccontextmanager
async def desk_at(registry: Registry, address: BrokerAddress) -> AsyncIterator[Desk]:
    desk = Desk(registry, SystemClock(), address)
    task = asyncio.create_task(desk.run())
    try:
        yield desk
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def broker_on(listen: str = "127.0.0.1:0") -> AsyncIterator[BrokerAddress]:
    broker = await EmbeddedBroker.start(listen)
    try:
        yield broker.address
    finally:
        await broker.close()


@asynccontextmanager
async def device_at(address: BrokerAddress, *topics: str) -> AsyncIterator[aiomqtt.Client]:
    async with aiomqtt.Client(address.host, address.port) as client:
        for topic in topics:
            await client.subscribe(topic, qos=1)
        yield client


async def next_payload(client: aiomqtt.Client) -> bytes:
    message = await asyncio.wait_for(anext(aiter(client.messages)), 60)
    return bytes(message.payload)


async def next_goal(client: aiomqtt.Client) -> bytes:
    """The next goal but for "nothing", which a connecting server states of every idle device."""
    while not (payload := await next_payload(client)):
        pass
    return payload


async def test_goals_reach_a_device_now_and_later(registry: Registry, broker: BrokerAddress) -> None:
    async with desk_at(registry, broker) as desk:
        await until(lambda: desk.connected)
        async with device_at(broker, ASSIGNMENT) as early:
            registry.assign([KITCHEN], "digits", 1, max_level=6, now_ms=5)
            desk.announce([KITCHEN])
            seen = control_pb2.Assignment.FromString(await next_goal(early))
        async with device_at(broker, ASSIGNMENT) as late:
            assert control_pb2.Assignment.FromString(await next_goal(late)) == seen
    version = registry.get_version("digits")
    assert (seen.ref.model, seen.ref.version, seen.max_level, seen.generation) == ("digits", 1, 6, 1)
    assert seen.manifest_digest.hex() == version.manifest_digest
    assert seen.manifest_size_bytes == version.manifest_size_bytes


async def test_further_models_go_out_in_the_same_message(registry: Registry, broker: BrokerAddress) -> None:
    registry.add_version("speech", make_version("speech"))
    async with desk_at(registry, broker) as desk:
        await until(lambda: desk.connected)
        async with device_at(broker, ASSIGNMENT) as device:
            registry.assign([KITCHEN], "digits", 1, further=[("speech", 1)], max_level=6, now_ms=5)
            desk.announce([KITCHEN])
            seen = control_pb2.Assignment.FromString(await next_goal(device))
    assert (seen.ref.model, seen.generation) == ("digits", 1), "all that an older agent reads"
    (other,) = seen.further
    assert (other.ref.model, other.ref.version, other.max_level) == ("speech", 1, 6)
    assert other.manifest_digest.hex() == registry.get_version("speech").manifest_digest


async def test_every_model_that_a_device_has_proven_is_remembered(
    registry: Registry, broker: BrokerAddress
) -> None:
    for _ in range(2):
        registry.add_version("speech", make_version("speech"))
    speech = catalog_pb2.VersionRef(model="speech", version=2)
    state = control_pb2.DeviceState(
        device_id=KITCHEN, models=[control_pb2.ModelState(model="speech", proven=speech)]
    )

    def refused() -> bool:
        try:
            registry.assign([KITCHEN], "speech", 1, now_ms=1)
        except ConflictError:
            return True
        return False

    async with desk_at(registry, broker) as desk:
        await until(lambda: desk.connected)
        async with device_at(broker) as device:
            await device.publish(topic_for(KITCHEN, Topic.STATE), state.SerializeToString(), qos=1)
            await until(refused)


async def test_what_was_wanted_while_the_broker_was_away_is_stated_when_it_comes(registry: Registry) -> None:
    with kept_port() as port:
        async with desk_at(registry, BrokerAddress("127.0.0.1", port)) as desk:
            registry.assign(None, "digits", now_ms=5)
            registry.set_limits(KITCHEN, 77)
            desk.announce([KITCHEN])
            assert not desk.connected
            for _ in range(2):  # the second broker starts with nothing retained
                async with broker_on(f"127.0.0.1:{port}") as address, device_at(address, LIMITS) as device:
                    limits = control_pb2.Limits.FromString(await next_goal(device))
                    assert (limits.memory_budget_bytes, limits.generation) == (77, 1)


async def test_reports_reach_the_registry(registry: Registry, broker: BrokerAddress) -> None:
    async with desk_at(registry, broker) as desk:
        await until(lambda: desk.connected)
        async with device_at(broker) as device:
            presence = control_pb2.Presence(device_id=KITCHEN, session_id="s1", online=True)
            await device.publish(PRESENCE, presence.SerializeToString(), qos=1, retain=True)
            state = control_pb2.DeviceState(device_id=KITCHEN, level=4)
            state.proven.CopyFrom(catalog_pb2.VersionRef(model="digits", version=1))
            await device.publish(STATE, state.SerializeToString(), qos=1, retain=True)
            await until(lambda: registry.get_device(KITCHEN).proven == ("digits", 1))
            await until(lambda: registry.get_device(KITCHEN).online)
            ledger = control_pb2.LedgerReport(device_id=KITCHEN, ledger_id="l1")
            ledger.totals.add(
                ref=state.proven, kind=control_pb2.TRANSFER_KIND_BASE, level=4, payload_bytes=9, blobs=1
            )
            topic = topic_for(KITCHEN, Topic.LEDGER)
            await device.publish(topic, ledger.SerializeToString(), qos=1, retain=True)
            await until(lambda: [item.payload_bytes for item in registry.transfers()] == [9])


async def test_hostile_messages_change_nothing(
    registry: Registry, broker: BrokerAddress, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk_at(registry, broker) as desk:
        await until(lambda: desk.connected)
        async with device_at(broker) as device:
            other = control_pb2.DeviceState(device_id=CELLAR).SerializeToString()
            for payload in (b"\xff\xff\xff", other, bytes(300_000)):
                await device.publish(STATE, payload, qos=1)
                await until(lambda: "Ignored a message" in caplog.text)
                caplog.clear()
            assert registry.get_device(KITCHEN).state == b""
            good = control_pb2.DeviceState(device_id=KITCHEN, level=8).SerializeToString()
            await device.publish(STATE, good, qos=1)
            await until(lambda: registry.get_device(KITCHEN).state == good)


async def test_a_new_connection_counts_those_as_online_who_say_so(
    registry: Registry, broker: BrokerAddress
) -> None:
    registry.enrol(CELLAR, "1" * 64, "0.1.0", "linux/x86_64", 1)
    registry.record_presence(KITCHEN, "s1", online=True, now_ms=2)
    registry.record_presence(CELLAR, "s2", online=True, now_ms=2)
    async with device_at(broker) as device:
        presence = control_pb2.Presence(device_id=KITCHEN, session_id="s1", online=True)
        await device.publish(PRESENCE, presence.SerializeToString(), qos=1, retain=True)
    async with desk_at(registry, broker):
        await until(lambda: not registry.get_device(CELLAR).online)
        await until(lambda: registry.get_device(KITCHEN).online)
    assert registry.get_device(CELLAR).last_seen_unix_ms == 2


async def test_a_forgotten_device_leaves_nothing_at_the_broker(
    registry: Registry, broker: BrokerAddress
) -> None:
    async with desk_at(registry, broker) as desk:
        await until(lambda: desk.connected)
        registry.assign([KITCHEN], "digits", now_ms=5)
        desk.announce([KITCHEN])
        async with device_at(broker, ASSIGNMENT) as watcher:
            await next_goal(watcher)
            registry.forget_device(KITCHEN)
            desk.announce([KITCHEN])
            while await next_payload(watcher):
                pass


async def test_a_device_that_has_seen_more_than_the_registry_gets_its_goal_anew(
    registry: Registry, broker: BrokerAddress
) -> None:
    async with desk_at(registry, broker) as desk:
        await until(lambda: desk.connected)
        registry.assign([KITCHEN], "digits", now_ms=5)
        desk.announce([KITCHEN])
        async with device_at(broker, ASSIGNMENT) as device:
            assert control_pb2.Assignment.FromString(await next_goal(device)).generation == 1
            state = control_pb2.DeviceState(device_id=KITCHEN, assignment_generation=40)
            await device.publish(STATE, state.SerializeToString(), qos=1)
            while control_pb2.Assignment.FromString(await next_goal(device)).generation <= 40:
                pass


async def test_a_taken_port_is_said() -> None:
    async with broker_on() as address:
        with pytest.raises(ConflictError, match="cannot listen"):
            await EmbeddedBroker.start(f"127.0.0.1:{address.port}")
