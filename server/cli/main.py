"""The ``nestfleet`` command: what operators use, and the server itself."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from common.errors import Error
from server.cli.catalog import inspect, models
from server.cli.devices import assign, devices
from server.cli.garbage import gc
from server.cli.limits import limits
from server.cli.output import print_error, print_line
from server.cli.publish import export, push
from server.cli.savings import savings
from server.cli.serve import server

app = typer.Typer(
    name="nestfleet",
    help="Delivers nested-quantized neural networks to fleets of boards, over the air.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (server, push, export, models, inspect, devices, assign, limits, savings, gc):
    app.command()(command)


def _print_version(asked: bool) -> None:  # noqa: FBT001 - typer calls it with the option's value
    if asked:
        print_line(f"nestfleet {metadata.version('nestfleet')}")
        raise typer.Exit


@app.callback()
def _root(
    *,
    _version: Annotated[
        bool,
        typer.Option(
            "--version",
            metavar="",
            callback=_print_version,
            is_eager=True,
            help="Print the release and exit.",
        ),
    ] = False,
) -> None:
    """Nothing to do for all commands; the options are each command's own."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit: 0 done, 1 refused or failed with a message, 2 wrong usage."""
    try:
        app(arguments, prog_name="nestfleet")
    except Error as error:
        print_error(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
