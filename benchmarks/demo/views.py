"""What is known of each agent at one moment, from the server's records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from nestfleet.v1 import control_pb2, fleet_pb2

from common.byte_sizes import format_bytes

_PHASES: Final = {
    control_pb2.PHASE_IDLE: "at rest",
    control_pb2.PHASE_FETCHING: "fetching",
    control_pb2.PHASE_PROVING: "proving",
    control_pb2.PHASE_FAILED: "refused",
    control_pb2.PHASE_WAITING: "waiting",
}


@dataclass(frozen=True, slots=True)
class View:
    """An agent as the server knows it.

    Attributes:
        device: What it reported last, and what is wanted of it.
        moved: Its ledger.
    """

    device: fleet_pb2.Device
    moved: fleet_pb2.Savings

    @property
    def state(self) -> control_pb2.DeviceState:
        """What the agent reported last."""
        return self.device.state

    @property
    def at_rest(self) -> bool:
        """Whether it has done all that was asked of it."""
        return self.state.phase == control_pb2.PHASE_IDLE

    @property
    def phase(self) -> str:
        """What it does, in a word or two."""
        return _PHASES.get(self.state.phase, "-") if self.device.online else "away"

    @property
    def running(self) -> str:
        """What it serves, and at which level."""
        state = self.state
        return (
            f"{state.proven.model}:{state.proven.version} at {state.level} bits"
            if state.level
            else "nothing yet"
        )

    def runs(self, version: int, level: int) -> bool:
        """Whether it serves this version with every block at this level, and has nothing left to do."""
        state = self.state
        return self.at_rest and state.proven.version == version and state.level == level

    @property
    def in_memory(self) -> str:
        """Memory that weights take, of what they may take."""
        budget = format_bytes(self.state.memory_budget_bytes)
        return f"{format_bytes(self.state.resident_bytes)} of {budget}"

    @property
    def received(self) -> str:
        """The payload that it received so far, with the download at hand."""
        return format_bytes(max(payload_bytes(self.moved), self.state.fetch_done_bytes))


def payload_bytes(moved: fleet_pb2.Savings) -> int:
    """What was moved but for overhead, which grows with every report that a board at rest sends."""
    return moved.moved_bytes - moved.overhead_bytes


Views: TypeAlias = Mapping[str, View]


def views_of(devices: list[fleet_pb2.Device], savings: fleet_pb2.GetSavingsResponse) -> Views:
    """Device id to what is known of it."""
    moved = {row.device_id: row for row in savings.devices}
    nothing = fleet_pb2.Savings()
    return {device.device_id: View(device, moved.get(device.device_id, nothing)) for device in devices}
