"""``nestfleet savings``: what was moved, against what other schemes would have moved."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from nestfleet.v1 import fleet_pb2

from common.byte_sizes import format_bytes
from common.clock import SystemClock
from common.names import check_name
from server.cli.options import AsJson, Server
from server.cli.output import print_json, print_line, print_table, table
from server.cli.plain import plain
from server.cli.wording import difference
from server.client.connection import DEFAULT_SERVER
from server.client.fleet import FleetClient


def savings(
    *,
    model: Annotated[str, typer.Option(metavar="NAME", help="Count this model alone.")] = "",
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", dir_okay=False, help="Draw the comparison too.")
    ] = None,
    server: Server = DEFAULT_SERVER,
    as_json: AsJson = False,
) -> None:
    """Compare the bytes that the fleet received with what other schemes would have sent."""
    if model:
        check_name(model, what="model")
    with FleetClient(server) as client:
        reply = client.get_savings(model)
    if plot:
        _draw(reply, plot)
    if as_json:
        print_json(plain(reply))
        return
    if reply.fleet.moved_bytes:
        rows = [*reply.devices, reply.fleet]
        _print_moved(rows)
        print_line("")
        _print_comparison(rows)
    else:
        print_line("Nothing was moved yet. Assign a version: nestfleet assign NAME --all")
    if plot:
        print_line(f"\nDrawn in {plot}.")


def _draw(reply: fleet_pb2.GetSavingsResponse, path: Path) -> None:
    from server.ledger.messages import hours_from_messages, savings_from_message  # noqa: PLC0415 - as below
    from server.ledger.over_time import course  # noqa: PLC0415 - as below
    from server.ledger.picture import draw  # noqa: PLC0415 - matplotlib takes a second to import

    fleet = savings_from_message(reply.fleet)
    draw(fleet, path, course(fleet, hours_from_messages(reply.hours), SystemClock().unix_ms()))


def _print_moved(rows: Sequence[fleet_pb2.Savings]) -> None:
    grid = table(
        "DEVICE",
        ">VERSIONS",
        ">MOVED",
        ">BASE",
        ">SHARDS",
        ">UPDATES",
        ">DELTAS",
        ">METADATA",
        ">RESENT",
        ">OVERHEAD",
    )
    for row in rows:
        parts = (
            row.moved_bytes,
            row.base_bytes,
            row.shard_bytes,
            row.update_bytes,
            row.delta_bytes,
            row.metadata_bytes,
            row.retransmitted_bytes,
            row.overhead_bytes,
        )
        cells = [_who(row), str(row.versions), *(format_bytes(size_bytes) for size_bytes in parts)]
        grid.add_row(*cells, style=None if row.device_id else "bold")
    print_table(grid)


def _print_comparison(rows: Sequence[fleet_pb2.Savings]) -> None:
    grid = table("AGAINST", ">32-BIT FLOATS", ">ONE INT8 MODEL", ">ONE PER LEVEL", ">PAPER'S PACKING")
    for row in rows:
        schemes = (row.fp32_bytes, row.int8_bytes, row.separate_bytes, row.paper_bytes)
        cells = (f"{format_bytes(size)} {difference(row.moved_bytes, size):>6}" for size in schemes)
        grid.add_row(_who(row), *cells, style=None if row.device_id else "bold")
    print_table(grid)
    print_line(
        "\nThe percentages say how much less (-) or more (+) was moved than that scheme would have moved."
    )


def _who(row: fleet_pb2.Savings) -> str:
    return row.device_id or "fleet"
