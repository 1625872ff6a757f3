"""``nestfleet server``: the server process."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.options import AsJson
from server.cli.output import print_json, print_line

if TYPE_CHECKING:
    from server.app import Addresses
    from server.settings import Settings


def server(
    *,
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE.toml", dir_okay=False, help="Settings; see server/settings.py."),
    ] = None,
    listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Where to serve.", show_default="127.0.0.1:50051")
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="For registry and blobs.", show_default="nestfleet-data"),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="PostgreSQL or SQLite.", show_default="a file in the data folder"),
    ] = None,
    blobs_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="file://, s3://", show_default="a folder in the data folder"),
    ] = None,
    broker_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="An MQTT broker, mqtt://HOST:PORT.", show_default="in this process"),
    ] = None,
    broker_listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Of the broker in this process.", show_default="127.0.0.1:1883"
        ),
    ] = None,
    advertised_broker: Annotated[
        str | None, typer.Option(metavar="URL", help="Where devices find the broker, if that is elsewhere.")
    ] = None,
    workers: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A Dask cluster, dask://HOST:PORT.", show_default="this machine"),
    ] = None,
    ready_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Written with the addresses once all is served.")
    ] = None,
    log_level: Annotated[
        str | None,
        typer.Option(metavar="LEVEL", help="debug, info, warning or error.", show_default="info"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run the server until SIGINT or SIGTERM.

    Flags go before the environment (NESTFLEET_SERVER_DATA_DIR…), and that before the file of --config.
    """
    from server.settings import load_settings  # noqa: PLC0415 - pydantic takes a third of a second to import

    settings = load_settings(
        config,
        listen=listen,
        data_dir=data_dir,
        database_url=database_url,
        blobs_url=blobs_url,
        broker_url=broker_url,
        broker_listen=broker_listen,
        advertised_broker=advertised_broker,
        workers=workers,
        ready_file=ready_file,
        log_level=log_level,
    )
    _run(settings, as_json=as_json)


def _run(settings: Settings, *, as_json: bool) -> None:
    from server.app import serve  # noqa: PLC0415 - torch takes a second to import

    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)-7s %(name)s: %(message)s"
    )

    def ready(addresses: Addresses) -> None:
        if as_json:
            print_json({"grpc": addresses.grpc, "broker": addresses.broker})
        else:
            print_line(f"nestfleet serves on {addresses.grpc}, broker {addresses.broker}. Ctrl-C stops it.")

    asyncio.run(serve(settings, ready=ready))
