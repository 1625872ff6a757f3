"""The fleet as a table: one row per device and model, and below it what went wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from nestfleet.v1 import catalog_pb2, control_pb2, fleet_pb2
from rich.text import Text

from common.byte_sizes import format_bytes
from server.cli.device_models import DeviceModel, device_models, faults
from server.cli.limits_view import hold_text
from server.cli.output import print_line, print_table, printable, table
from server.cli.wording import age, percent, version_name

_PHASES: Final = {
    control_pb2.PHASE_IDLE: "idle",
    control_pb2.PHASE_FETCHING: "fetching",
    control_pb2.PHASE_PROVING: "proving",
    control_pb2.PHASE_FAILED: "failed",
    control_pb2.PHASE_WAITING: "waiting",
}
_NOTHING: Final = DeviceModel(catalog_pb2.VersionRef(), 0, control_pb2.ModelState())


def print_devices(devices: Sequence[fleet_pb2.Device], *, now_ms: int) -> None:
    """The table on stdout; a device that never reported has dashes."""
    grid = table("DEVICE", "LINK", "ASSIGNED", "RUNS", "LEVEL", "PHASE", ">MEMORY")
    for device in devices:
        first, *others = device_models(device) or [_NOTHING]
        grid.add_row(
            device.device_id,
            _link(device, now_ms),
            _assigned(first),
            printable(version_name(first.state.proven)),
            _levels(first.state),
            _phase(device.state),
            _memory(device.state),
        )
        for model in others:
            proven = printable(version_name(model.state.proven))
            grid.add_row("", "", _assigned(model), proven, _levels(model.state), "", "")
    print_table(grid)
    _print_holds(devices)
    _print_faults(devices)


def _link(device: fleet_pb2.Device, now_ms: int) -> Text:
    if device.online:
        return Text("online", "green")
    return Text(f"away {age(device.last_seen_unix_ms, now_ms)}", "yellow")


def _assigned(model: DeviceModel) -> str:
    limit = f" <={model.max_level}" if model.max_level else ""
    return version_name(model.assigned) + limit


def _levels(state: control_pb2.ModelState) -> str:
    """The lowest level of any block, and the highest where that differs."""
    if not state.level:
        return "-"
    highest = max((item.level for item in state.blocks if item.blocks), default=state.level)
    return f"{state.level}-{highest}" if highest > state.level else str(state.level)


def _memory(state: control_pb2.DeviceState) -> str:
    """What the weights of all models take of their common budget."""
    resident_bytes = sum(model.resident_bytes for model in state.models) or state.resident_bytes
    if not resident_bytes:
        return "-"
    if not state.memory_budget_bytes:
        return format_bytes(resident_bytes)
    share = percent(resident_bytes, state.memory_budget_bytes)
    return f"{share} of {format_bytes(state.memory_budget_bytes)}"


def _phase(state: control_pb2.DeviceState) -> Text:
    if state.phase == control_pb2.PHASE_FETCHING and state.fetch_total_bytes:
        return Text(f"fetching {percent(state.fetch_done_bytes, state.fetch_total_bytes)}", "cyan")
    if state.HasField("hold") and state.phase == control_pb2.PHASE_WAITING:
        return Text(f"held: {printable(state.hold.limit)}", "yellow")
    style = "bold red" if state.phase == control_pb2.PHASE_FAILED else ""
    return Text(_PHASES.get(state.phase, "-"), style)


def _print_holds(devices: Sequence[fleet_pb2.Device]) -> None:
    held = [device for device in devices if device.state.HasField("hold")]
    if held:
        print_line("")
    for device in held:
        print_line(f"{device.device_id}: held back by {hold_text(device.state.hold)}")


def _print_faults(devices: Sequence[fleet_pb2.Device]) -> None:
    found = [(device.device_id, fault) for device in devices for fault in faults(device.state)]
    if found:
        print_line("")
    for device_id, fault in found:
        version = f"{version_name(fault.ref)}: " if fault.ref.model else ""
        print_line(printable(f"{device_id}: {version}{fault.detail} ({fault.code})"))
