"""``nestfleet devices`` and ``nestfleet assign``: what the fleet runs, and what it shall run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer
from nestfleet.v1 import fleet_pb2

from common.byte_sizes import format_bytes, parse_bytes
from common.clock import SystemClock
from common.errors import ConfigError
from common.names import check_name
from server.cli.device_table import print_devices
from server.cli.named_versions import versions_and_devices
from server.cli.options import AsJson, Server
from server.cli.output import print_json, print_line
from server.cli.plain import plain
from server.cli.rollout import Outcome, follow, outcome
from server.cli.wording import version_name
from server.client.connection import DEFAULT_SERVER
from server.client.fleet import FleetClient


def devices(
    *,
    server: Server = DEFAULT_SERVER,
    forget: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Free a device id; may be repeated.")
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID=SIZE",
            help="Limit the memory for weights on a device, e.g. board-1=12MiB; 0 lifts it; may be repeated.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the devices and what they run, set memory budgets, or forget devices."""
    if forget and budget:
        raise typer.BadParameter("--forget and --budget do not go together.")
    budgets = [_parse_budget(text) for text in budget or ()]
    with FleetClient(server) as client:
        if forget:
            _forget(client, forget, as_json=as_json)
        elif budgets:
            _set_budgets(client, budgets, as_json=as_json)
        else:
            _show(client.list_devices(), as_json=as_json)


def assign(
    names: Annotated[
        list[str],
        typer.Argument(
            metavar="NAME[:VERSION]|DEVICE",
            help="Devices, and all that they shall run: at most 8 versions, one of each model. With a single"
            " version, NAME alone stands for the newest; beside device ids it then comes first.",
            show_default=False,
        ),
    ],
    *,
    all_devices: Annotated[
        bool, typer.Option("--all", help="The whole fleet.", show_default=False, metavar="")
    ] = False,
    beside: Annotated[
        bool,
        typer.Option(
            "--beside", metavar="", help="What else is assigned stays; of the same model it is replaced."
        ),
    ] = False,
    max_level: Annotated[
        int, typer.Option(min=0, max=8, help="Highest level the devices may take; 0: no limit.")
    ] = 0,
    allow_older: Annotated[
        bool,
        typer.Option("--allow-older", metavar="", help="Also where a device has proven a newer version."),
    ] = False,
    wait: Annotated[
        bool,
        typer.Option(
            "--wait",
            metavar="",
            help="Follow the devices until each runs it or has refused it; exit status 1 if one refused.",
        ),
    ] = False,
    timeout_seconds: Annotated[
        float, typer.Option("--timeout", min=1, max=86400, metavar="SECONDS", help="How long --wait waits.")
    ] = 600,
    server: Server = DEFAULT_SERVER,
    as_json: AsJson = False,
) -> None:
    """State what devices shall run. They fetch what they lack, prove it, and switch.

    What an assignment does not name is not wanted any more, unless it is --beside.
    """
    (first, *further), device_ids = versions_and_devices(names, all_devices=all_devices)
    with FleetClient(server) as client:
        assigned = client.assign(
            *first,
            further=further,
            device_ids=device_ids,
            all_devices=all_devices,
            beside=beside,
            max_level=max_level,
            allow_older=allow_older,
        )
        if not as_json:
            _print_assigned(assigned)
        if wait:
            ids = [device.device_id for device in assigned]
            assigned = follow(client.list_devices, ids, timeout_seconds=timeout_seconds)
    if as_json:
        print_json({"devices": [plain(device) for device in assigned]})
    if wait and any(outcome(device) is Outcome.REFUSED for device in assigned):
        raise typer.Exit(1)


def _parse_budget(text: str) -> tuple[str, int]:
    device_id, equals, size = text.partition("=")
    if not equals:
        raise ConfigError(f"{text[:80]!r} is no budget.", advice="Write ID=SIZE, e.g. board-1=12MiB.")
    return check_name(device_id, what="device"), parse_bytes(size)


def _forget(client: FleetClient, device_ids: Sequence[str], *, as_json: bool) -> None:
    for device_id in device_ids:
        client.forget_device(device_id)
        if not as_json:
            print_line(f"{device_id} is forgotten; its id is free.")
    if as_json:
        print_json({"forgotten": list(device_ids)})


def _set_budgets(client: FleetClient, budgets: Sequence[tuple[str, int]], *, as_json: bool) -> None:
    changed = [client.set_memory_budget(device_id, size_bytes) for device_id, size_bytes in budgets]
    if as_json:
        print_json({"devices": [plain(device) for device in changed]})
        return
    for device in changed:
        limit = format_bytes(device.memory_budget_bytes) if device.memory_budget_bytes else "its own setting"
        print_line(f"{device.device_id}: memory for weights is {limit}.{_later(device)}")


def _show(found: Sequence[fleet_pb2.Device], *, as_json: bool) -> None:
    if as_json:
        print_json({"devices": [plain(device) for device in found]})
    elif found:
        print_devices(found, now_ms=SystemClock().unix_ms())
    else:
        print_line("No devices yet. Start one on a board: nestfleet-agent run --server HOST:PORT")


def _print_assigned(assigned: Sequence[fleet_pb2.Device]) -> None:
    if not assigned:
        print_line("No devices are enrolled; nothing was assigned.")
    for device in assigned:
        wanted = ", ".join(map(_wanted, device.assigned_versions))
        print_line(f"{device.device_id}: {wanted}.{_later(device)}")


def _wanted(assigned: fleet_pb2.AssignedVersion) -> str:
    limit = f" up to {assigned.max_level} bits" if assigned.max_level else ""
    return version_name(assigned.ref) + limit


def _later(device: fleet_pb2.Device) -> str:
    return "" if device.online else " It is away and follows when it is back."
