"""``nestfleet models`` and ``nestfleet inspect``: what the registry holds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from nestfleet.v1 import catalog_pb2

from common.byte_sizes import format_bytes
from common.errors import InvalidInputError
from common.graph import codec
from common.graph.left_float import float_states
from common.names import parse_version_ref
from server.cli.fidelity import draw_fidelity, read_fidelity
from server.cli.fidelity_table import fidelity_json, print_fidelity
from server.cli.inspection import inspection_json, print_inspection
from server.cli.left_float_table import left_float_json, print_left_float
from server.cli.options import AsJson, Server, VersionArgument
from server.cli.output import print_json, print_line, print_table, table
from server.cli.plain import plain
from server.cli.wording import level_list, utc_time, version_name
from server.client.connection import DEFAULT_SERVER
from server.client.fleet import FleetClient


def models(
    *,
    server: Server = DEFAULT_SERVER,
    delete: Annotated[
        list[str] | None, typer.Option(metavar="NAME:VERSION", help="Withdraw a version; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the models and their versions, or withdraw versions."""
    with FleetClient(server) as client:
        if delete:
            _delete(client, delete, as_json=as_json)
            return
        versions = client.list_versions()
    if as_json:
        print_json({"versions": [plain(version) for version in versions]})
    elif versions:
        _print_versions(versions)
    else:
        print_line("No models yet. Push one: nestfleet push MODULE:FUNCTION --name NAME")


def inspect(
    version: VersionArgument,
    *,
    blocks: Annotated[
        bool, typer.Option("--blocks", metavar="", help="List every block and tensor.")
    ] = False,
    plot: Annotated[
        Path | None,
        typer.Option(metavar="FILE.png", dir_okay=False, help="Draw its fidelity by level and block too."),
    ] = None,
    server: Server = DEFAULT_SERVER,
    as_json: AsJson = False,
) -> None:
    """Show one version: sizes, inputs, outputs, what stays float, fidelity and blocks."""
    name, number = parse_version_ref(version)
    with FleetClient(server) as client:
        detail = client.get_version(name, number)
        graph = codec.from_json(client.read_blob(detail.manifest.graph))
        report = read_fidelity(client, detail.manifest)
    left_float = float_states(graph)
    if plot:
        draw_fidelity(report, plot, title=version_name(detail.version.ref))
    if as_json:
        more = {"left_float": left_float_json(left_float), "fidelity": fidelity_json(report)}
        print_json(inspection_json(detail, graph) | more)
        return
    print_inspection(detail, graph, blocks=blocks)
    print_left_float(left_float, every=blocks)
    print_fidelity(report, every=blocks)
    if plot:
        print_line(f"\nDrawn in {plot}.")


def _delete(client: FleetClient, names: Sequence[str], *, as_json: bool) -> None:
    refs = [parse_version_ref(name) for name in names]
    for model, number in refs:
        if not number:
            raise InvalidInputError(f"{model!r} names no version to withdraw.", advice=f"Write {model}:1.")
    for model, number in refs:
        client.delete_version(model, number)
        if not as_json:
            print_line(f"{model}:{number} is withdrawn. `nestfleet gc` frees its blobs.")
    if as_json:
        print_json({"deleted": [{"model": model, "version": number} for model, number in refs]})


def _print_versions(versions: Sequence[catalog_pb2.Version]) -> None:
    grid = table("VERSION", "LEVELS", ">BASE", ">FULL", ">INT8", ">FP32", ">BLOCKS", "PUSHED (UTC)")
    for version in versions:
        sizes = version.sizes
        grid.add_row(
            version_name(version.ref),
            level_list(version.levels),
            format_bytes(sizes.base_bytes),
            format_bytes(sizes.base_bytes + sum(shard.size_bytes for shard in sizes.shards)),
            format_bytes(sizes.int8_bytes),
            format_bytes(sizes.fp32_bytes),
            str(version.blocks),
            utc_time(version.created_unix_ms),
        )
    print_table(grid)
