"""``nestfleet gc``: give back the space of what no version names."""

from __future__ import annotations

from typing import Annotated

import typer

from common.byte_sizes import format_bytes
from server.cli.options import AsJson, Server
from server.cli.output import print_json, print_line
from server.cli.wording import count
from server.client.connection import DEFAULT_SERVER
from server.client.fleet import FleetClient


def gc(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Count, but delete nothing.", show_default=False, metavar="")
    ] = False,
    server: Server = DEFAULT_SERVER,
    as_json: AsJson = False,
) -> None:
    """Delete blobs that no version names and that are older than the server's grace period."""
    with FleetClient(server) as client:
        reply = client.collect_garbage(dry_run=dry_run)
    if as_json:
        print_json({"dry_run": dry_run, "blobs": reply.blobs, "freed_bytes": reply.freed_bytes})
        return
    verb = "Would free" if dry_run else "Freed"
    print_line(f"{verb} {count(reply.blobs, 'blob')}, {format_bytes(reply.freed_bytes)}.")
