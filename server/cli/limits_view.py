"""A device's limits in words: what the operator set, what the device keeps to, and what it holds back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from nestfleet.v1 import control_pb2, fleet_pb2

from common.byte_sizes import format_bytes
from common.quiet_hours import NO_QUIET_HOURS
from server.cli.output import printable
from server.cli.wording import percent, utc_time

_RULES: Final = {
    control_pb2.METERED_RULE_ALL: "all",
    control_pb2.METERED_RULE_BASE_ONLY: "base-only",
    control_pb2.METERED_RULE_NOTHING: "nothing",
}


def limit_lines(device: fleet_pb2.Device) -> Iterator[str]:
    """The limits, one a line."""
    state = device.state
    yield (
        f"{device.device_id}, as last reported"
        if state.device_id
        else f"{device.device_id} has not reported yet"
    )
    memory = device.memory_budget_bytes
    yield _line("memory", _size(state.memory_budget_bytes), _size(memory) if memory else "")
    for name, now, wanted in _transfer(state.transfer_limits, device.transfer_limits):
        yield _line(name, now, wanted)
    yield f"  {'this month':<12}{_month(state)}"
    yield f"  {'link':<12}{'metered' if state.metered else 'not metered'}"
    if state.HasField("hold"):
        yield f"  {'held back':<12}{hold_text(state.hold)}"


def hold_text(hold: control_pb2.TransferHold) -> str:
    """Which limit holds transfers back, why, and until when."""
    until = f" until {utc_time(hold.until_unix_ms)}" if hold.until_unix_ms else ""
    return printable(f"{hold.limit}{until}: {hold.detail}")


def _transfer(
    now: control_pb2.TransferLimits, wanted: control_pb2.TransferLimits
) -> Iterator[tuple[str, str, str]]:
    yield "bandwidth", _rate(now), _rate(wanted)
    yield "monthly", _size(now.monthly_bytes), _size(wanted.monthly_bytes)
    yield "metered", _RULES.get(now.metered, ""), _RULES.get(wanted.metered, "")
    yield "quiet hours", _hours(now), _hours(wanted)


def _line(name: str, now: str, wanted: str) -> str:
    if wanted and wanted != now:
        return f"  {name:<12}{now or '-'}, {wanted} is wanted"
    return f"  {name:<12}{now or '-'}{'' if wanted else ' (its own setting)'}"


def _month(state: control_pb2.DeviceState) -> str:
    budget = state.transfer_limits.monthly_bytes
    used = format_bytes(state.month_bytes)
    return f"{used}, {percent(state.month_bytes, budget)} of {format_bytes(budget)}" if budget else used


def _rate(limits: control_pb2.TransferLimits) -> str:
    rate = limits.bandwidth_bytes_per_second
    return f"{format_bytes(rate)}/s" if rate else ""


def _size(size_bytes: int) -> str:
    return format_bytes(size_bytes) if size_bytes else ""


def _hours(limits: control_pb2.TransferLimits) -> str:
    return "none" if limits.quiet_hours == NO_QUIET_HOURS else printable(limits.quiet_hours)
