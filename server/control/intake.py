"""Reports on their way in: the registry learns what devices say of themselves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from nestfleet.v1 import control_pb2

from common.clock import Clock
from common.errors import Error, InvalidInputError
from server.control.reports import Report, read_report, version_named, versions_named
from server.ledger.recording import record
from server.registry.records import DeviceRecord
from server.registry.repository import Registry

_log = logging.getLogger(__name__)


class Intake:
    """Records reports, one at a time.

    Args:
        registry: Keeps them.
        clock: Stamps them.
        on_state: Told of each recorded state with the device after it.
    """

    def __init__(
        self,
        registry: Registry,
        clock: Clock,
        on_state: Callable[[control_pb2.DeviceState, DeviceRecord], None],
    ) -> None:
        self._registry = registry
        self._clock = clock
        self._on_state = on_state

    async def take(self, topic: str, payload: bytes) -> None:
        """The registry knows what a message reports; one that makes no sense is logged and passed over."""
        try:
            report = read_report(topic, payload)
            if report is None:
                return
            device = await asyncio.to_thread(self._record, report)
            if device is not None and isinstance(report, control_pb2.DeviceState):
                self._on_state(report, device)
        except InvalidInputError as error:
            _log.warning("Ignored a message on %.200s: %s", topic, error)
        except Error as error:
            _log.warning("A report on %.200s is lost, the next one counts: %s", topic, error)
        except Exception:  # noqa: BLE001  # a report must not end the connection
            _log.exception("A report on %.200s is lost, the next one counts", topic)

    async def count_nobody(self) -> None:
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

    def _record(self, report: Report) -> DeviceRecord | None:
        now_ms = self._clock.unix_ms()
        match report:
            case control_pb2.DeviceState():
                return self._registry.record_state(
                    report.device_id,
                    report.SerializeToString(),
                    version_named(report.proven),
                    further=versions_named(report),
                    now_ms=now_ms,
                    seen_generation=report.assignment_generation,
                )
            case control_pb2.Presence():
                return self._registry.record_presence(
                    report.device_id, report.session_id, online=report.online, now_ms=now_ms
                )
            case control_pb2.LedgerReport():
                record(self._registry, report, now_ms)
        return None
