"""``nestfleet push`` and ``nestfleet export``: a model on its way into the registry."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from nestfleet.v1 import catalog_pb2

from common.byte_sizes import format_bytes, parse_bytes
from server.cli.model_source import load_model
from server.cli.options import AsJson, Server
from server.cli.output import print_json, print_line
from server.cli.plain import plain
from server.cli.push_options import (
    AcceptanceFile,
    BudgetBytes,
    CalibrationFile,
    EvaluationFile,
    FirstLast,
    Fresh,
    Levels,
    MinAgreement,
    MinFidelity,
    Pins,
    Refit,
    Rounding,
    parse_levels,
    parse_pins,
)
from server.cli.push_progress import PushProgress
from server.cli.sample_files import read_acceptance, read_calibration, read_evaluation
from server.cli.wording import level_list, version_name
from server.client.connection import DEFAULT_SERVER
from server.client.publication import Publication


def push(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FOLDER|MODULE:FUNCTION",
            help="What `nestfleet export` wrote, or a function that returns (model, example inputs).",
        ),
    ],
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="The model's name.")],
    levels: Levels = "4,6,8",
    rounding: Rounding = "floor",
    refit: Refit = False,
    calibration: CalibrationFile = None,
    pin: Pins = None,
    first_last: FirstLast = 0,
    budget_bytes: BudgetBytes = "0",
    evaluate: EvaluationFile = None,
    min_fidelity: MinFidelity = 0.0,
    acceptance: AcceptanceFile = None,
    min_agreement: MinAgreement = 0.0,
    fresh: Fresh = False,
    block_size: Annotated[
        str, typer.Option(metavar="SIZE", help="Largest blob, e.g. 512KiB; 0: the server's choice.")
    ] = "0",
    server: Server = DEFAULT_SERVER,
    as_json: AsJson = False,
) -> None:
    """Publish a model as the next version of NAME."""
    publication = Publication(
        name,
        parse_levels(levels),
        rounding,
        read_acceptance(acceptance) if acceptance else None,
        min_agreement,
        parse_bytes(block_size),
        refit=refit,
        calibration=read_calibration(calibration) if calibration else None,
        evaluation=read_evaluation(evaluate) if evaluate else None,
        pins=parse_pins(pin or ()),
        first_last=first_last,
        budget_bytes=parse_bytes(budget_bytes),
        min_fidelity=min_fidelity,
        fresh=fresh,
    )
    with PushProgress() as progress:
        version = _publish(source, publication, server, progress)
    if as_json:
        print_json(plain(version))
    else:
        _print_version(version, progress.kept_scales)


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="MODULE:FUNCTION", help="A function here that returns (model, example inputs)."
        ),
    ],
    *,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FOLDER", file_okay=False, help="Where to.")],
    as_json: AsJson = False,
) -> None:
    """Write a model's graph and weights to a folder, to be pushed later or from elsewhere."""
    from server.export import export_model, save_exported  # noqa: PLC0415 - torch takes a second to import

    model, inputs = load_model(source, Path.cwd())
    exported = export_model(model, inputs)
    save_exported(exported, out)
    if as_json:
        print_json({"folder": str(out), "nodes": len(exported.graph.nodes), "states": len(exported.states)})
    else:
        print_line(
            f"{len(exported.graph.nodes)} operations and {len(exported.states)} tensors are in {out}. "
            f"Push them: nestfleet push {out} --name NAME"
        )


def _publish(
    source: str, publication: Publication, server: str, progress: PushProgress
) -> catalog_pb2.Version:
    from server.client.push import push_folder, push_model  # noqa: PLC0415 - as in export

    if Path(source).is_dir():
        return push_folder(Path(source), publication, server=server, on_progress=progress)
    return push_model(
        lambda: load_model(source, Path.cwd()), publication, server=server, on_progress=progress
    )


def _print_version(version: catalog_pb2.Version, kept_scales: tuple[int, int] | None) -> None:
    sizes, name = version.sizes, version_name(version.ref)
    full_bytes = sizes.base_bytes + sum(shard.size_bytes for shard in sizes.shards)
    print_line(
        f"{name} is published at levels {level_list(version.levels)}: base {format_bytes(sizes.base_bytes)}, "
        f"in full {format_bytes(full_bytes)} (INT8 {format_bytes(sizes.int8_bytes)}, "
        f"FP32 {format_bytes(sizes.fp32_bytes)})."
    )
    if kept_scales:
        kept, rows = kept_scales
        print_line(f"{kept} of {rows} rows keep the scales of the version before (--fresh makes all anew).")
    print_line(f"Assign it: nestfleet assign {name} --all")
