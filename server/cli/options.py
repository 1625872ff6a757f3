"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

Server: TypeAlias = Annotated[
    str, typer.Option("--server", envvar="NESTFLEET_SERVER", metavar="HOST:PORT", help="The server to ask.")
]
AsJson: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--json", help="Print JSON to stdout, and nothing else there.", show_default=False, metavar=""
    ),
]
VersionArgument: TypeAlias = Annotated[
    str, typer.Argument(metavar="NAME[:VERSION]", help="A model; the newest version where none is named.")
]
