"""The control side of the server: one connection to the broker, goals out, reports in."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from nestfleet.v1 import control_pb2

from common.addresses import BrokerAddress
from common.clock import Clock
from common.topics import subscription
from server.control.announcer import Announcer
from server.control.intake import Intake
from server.control.link import BrokerLink
from server.control.reports import REPORT_TOPICS
from server.registry.records import DeviceRecord
from server.registry.repository import Registry


class Desk:
    """Keeps what the broker retains equal to the registry, and the registry equal to what devices report.

    The registry holds the truth: a goal that cannot be published now is published at the next connection.
    """

    def __init__(self, registry: Registry, clock: Clock, broker: BrokerAddress) -> None:
        self._announcer = Announcer(registry, self._publish)
        self._intake = Intake(registry, clock, self._on_state)
        self._link = BrokerLink(
            broker,
            [subscription(topic) for topic in REPORT_TOPICS],
            on_open=self._intake.count_nobody,
            on_connect=self._announcer.announce_all,
            on_message=self._intake.take,
        )

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._link.connected

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._link.run())
            tasks.create_task(self._announcer.run())

    def announce(self, device_ids: Iterable[str]) -> None:
        """What is retained for these devices will be what the registry wants; nothing, for forgotten ones."""
        self._announcer.announce(device_ids)

    async def _publish(self, topic: str, payload: bytes) -> None:
        await self._link.publish(topic, payload)

    def _on_state(self, state: control_pb2.DeviceState, device: DeviceRecord) -> None:
        """A device that has seen more than was ever stated, so that the registry caught up, gets its goal."""
        seen = state.assignment_generation
        if device.assignment_generation > seen >= self._announcer.stated_generation(device.device_id):
            self.announce([device.device_id])
