"""``nestfleet limits``: what memory and which use of its link a device is allowed, and what comes of it."""

from __future__ import annotations

from typing import Annotated, Final

import typer
from nestfleet.v1 import fleet_pb2

from common.byte_sizes import parse_bytes
from common.names import check_name
from common.quiet_hours import NO_QUIET_HOURS, parse_quiet_hours
from common.transfer_limits import (
    TransferLimits,
    check_transfer_limits,
    parse_metered_rule,
    read_transfer_limits,
    transfer_limits_message,
)
from server.cli.limits_view import limit_lines
from server.cli.options import AsJson, Server
from server.cli.output import print_json, print_lines
from server.cli.plain import plain
from server.client.connection import DEFAULT_SERVER
from server.client.fleet import FleetClient

_OWN: Final = "own"


def limits(
    device_id: Annotated[str, typer.Argument(metavar="DEVICE", help="Which device.", show_default=False)],
    *,
    memory: Annotated[
        str | None, typer.Option(metavar="SIZE", help="Memory for weights, e.g. 12MiB.", show_default=False)
    ] = None,
    bandwidth: Annotated[
        str | None,
        typer.Option(metavar="SIZE", help="Download rate in a second, e.g. 256KiB.", show_default=False),
    ] = None,
    monthly: Annotated[
        str | None,
        typer.Option(
            metavar="SIZE",
            help="Bytes of all kinds in a calendar month, UTC, e.g. 500MiB.",
            show_default=False,
        ),
    ] = None,
    metered: Annotated[
        str | None,
        typer.Option(
            metavar="RULE", help="Over a metered link: all, base-only or nothing.", show_default=False
        ),
    ] = None,
    quiet: Annotated[
        str | None,
        typer.Option(
            metavar="HH:MM-HH:MM",
            help='No bulk transfers in this time of day, UTC, e.g. 22:00-06:00; "none" for no quiet hours.',
            show_default=False,
        ),
    ] = None,
    server: Server = DEFAULT_SERVER,
    as_json: AsJson = False,
) -> None:
    """Show a device's limits, or set some, and the others stay. "own" leaves one to the device's setting."""
    check_name(device_id, what="device")
    said = (memory, bandwidth, monthly, metered, quiet)
    changed = _changed(TransferLimits(), bandwidth, monthly, metered, quiet)
    memory_bytes = _size(memory)
    with FleetClient(server) as client:
        device = client.get_device(device_id)
        if any(word is not None for word in said):
            changed = _changed(
                read_transfer_limits(device.transfer_limits), bandwidth, monthly, metered, quiet
            )
            budget_bytes = device.memory_budget_bytes if memory is None else memory_bytes
            device = client.set_limits(device_id, budget_bytes, transfer_limits_message(changed))
    _show(device, as_json=as_json)


def _changed(
    limits: TransferLimits, bandwidth: str | None, monthly: str | None, metered: str | None, quiet: str | None
) -> TransferLimits:
    """The limits with what was said; checked before anybody is asked."""
    rule = None if metered in {None, _OWN} else parse_metered_rule(metered or "")
    return check_transfer_limits(
        TransferLimits(
            limits.bandwidth_bytes_per_second if bandwidth is None else _size(bandwidth),
            limits.monthly_bytes if monthly is None else _size(monthly),
            limits.metered if metered is None else rule,
            limits.quiet_hours if quiet is None else _hours(quiet),
        )
    )


def _size(text: str | None) -> int:
    return 0 if text in {None, _OWN} else parse_bytes(text or "")


def _hours(text: str) -> str:
    if text in {_OWN, ""}:
        return ""
    return NO_QUIET_HOURS if text == "none" else str(parse_quiet_hours(text))


def _show(device: fleet_pb2.Device, *, as_json: bool) -> None:
    if as_json:
        print_json({"devices": [plain(device)]})
    else:
        print_lines(limit_lines(device))
