"""Between the registry and the broker: goals go out as retained messages, reports come in."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from nestfleet.v1 import control_pb2

from common.clock import Clock
from common.errors import Error, InvalidInputError, LinkError, NotFoundError
from common.topics import subscription
from server.addresses import BrokerAddress
from server.control.goals import goals, no_goals
from server.control.link import BrokerLink
from server.control.reports import REPORT_TOPICS, Report, read_report, version_named
from server.ledger.recording import record
from server.registry.records import DeviceRecord
from server.registry.repository import Registry

_log = logging.getLogger(__name__)


class Desk:
    """Keeps what the broker retains equal to the registry, and the registry equal to what devices report.

    The registry holds the truth: a goal that cannot be published now is published at the next connection.
    """

    def __init__(self, registry: Registry, clock: Clock, broker: BrokerAddress) -> None:
        self._registry = registry
        self._clock = clock
        self._stated: dict[str, int] = {}
        self._link = BrokerLink(
            broker,
            [subscription(topic) for topic in REPORT_TOPICS],
            on_open=self._count_nobody,
            on_connect=self._state_all,
            on_message=self.take,
        )

    @property
    def connected(self) -> bool:
        """Whether the broker is there."""
        return self._link.connected

    async def run(self) -> None:
        """Serve until cancelled."""
        await self._link.run()

    async def announce(self, device_ids: Iterable[str]) -> None:
        """The broker retains what the registry wants of these devices, now or after the next connection."""
        try:
            for device_id in device_ids:
                await self._state(device_id)
        except LinkError as error:
            _log.warning("Goals wait for the next connection: %s", error)

    async def withdraw(self, device_id: str) -> None:
        """The broker retains nothing that is wanted of a forgotten device."""
        try:
            for topic, payload in no_goals(device_id).items():
                await self._link.publish(topic, payload)
        except LinkError as error:
            _log.warning("A forgotten device's goals stay at the broker: %s", error)

    async def take(self, topic: str, payload: bytes) -> None:
        """The registry knows what a message reports; one that makes no sense is logged and passed over."""
        try:
            report = read_report(topic, payload)
            if report is not None:
                device = await asyncio.to_thread(self._record, report)
                if device and device.assignment_generation > self._stated.get(device.device_id, 0):
                    await self.announce([device.device_id])
        except InvalidInputError as error:
            _log.warning("Ignored a message on %.200s: %s", topic, error)
        except Error as error:
            _log.warning("A report on %.200s is lost, the next one counts: %s", topic, error)
        except Exception:  # noqa: BLE001  # a report must not end the connection
            _log.exception("A report on %.200s is lost, the next one counts", topic)

    async def _count_nobody(self) -> None:
        """Nobody counts as online: who is, says so again, or has it said by the broker's retained message."""
        for device in await asyncio.to_thread(self._registry.list_devices):
            if device.online:
                await asyncio.to_thread(
                    self._registry.record_presence,
                    device.device_id,
                    device.session_id,
                    online=False,
                    now_ms=device.last_seen_unix_ms,
                )

    async def _state_all(self) -> None:
        devices = await asyncio.to_thread(self._registry.list_devices)
        for device in devices:
            await self._state(device.device_id)

    async def _state(self, device_id: str) -> None:
        """Publish until the registry wants nothing newer, so that the last of several writers is right."""
        stated: tuple[int, int] | None = None
        while True:
            try:
                device = await asyncio.to_thread(self._registry.get_device, device_id)
            except NotFoundError:
                return
            wanted = (device.assignment_generation, device.limits_generation)
            if wanted == stated:
                return
            for topic, payload in goals(device).items():
                await self._link.publish(topic, payload)
            stated = wanted
            self._stated[device_id] = device.assignment_generation

    def _record(self, report: Report) -> DeviceRecord | None:
        now_ms = self._clock.unix_ms()
        match report:
            case control_pb2.DeviceState():
                return self._registry.record_state(
                    report.device_id,
                    report.SerializeToString(),
                    version_named(report.proven),
                    now_ms,
                    seen_generation=report.assignment_generation,
                )
            case control_pb2.Presence():
                return self._registry.record_presence(
                    report.device_id, report.session_id, online=report.online, now_ms=now_ms
                )
            case control_pb2.LedgerReport():
                record(self._registry, report, now_ms)
        return None
