"""The workers that a setting names."""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from common.addresses import join_host_port, parse_host_port
from common.errors import ConfigError
from server.quantize.workers.local import LocalWorkers
from server.quantize.workers.port import Workers

LOCAL: Final = "local"
_SCHEME: Final = "dask"


def check_choice(text: str) -> str:
    """The setting itself, where it names workers.

    Raises:
        ConfigError: It does not.
    """
    if text != LOCAL:
        dask_address(text)
    return text


def make_workers(text: str = LOCAL) -> Workers:
    """The workers that are named: "local", or "dask://HOST:PORT", the scheduler of a Dask cluster.

    Nothing is connected yet: a cluster that is away fails a push, not the server.

    Raises:
        ConfigError: The setting names none, or what it takes is not installed.
    """
    if text == LOCAL:
        return LocalWorkers()
    address = dask_address(text)
    try:
        # Only here: an eighth of the server's start, for those alone who have a cluster.
        from server.quantize.workers.dask_cluster import DaskWorkers  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"dask", "distributed"}:
            raise
        raise ConfigError(
            f"Workers at {text} need the package {error.name!r}, which is not installed.",
            advice="Install nestfleet[server,dask], or set workers to local.",
        ) from error
    return DaskWorkers(address)


def dask_address(text: str) -> str:
    """The scheduler's ``HOST:PORT``.

    Raises:
        ConfigError: The text is no ``dask://HOST:PORT``.
    """
    advice = "Write local, or dask://HOST:PORT with the address of the Dask scheduler."
    try:
        url = urlsplit(text)
        host, port = parse_host_port(url.netloc)
    except (ValueError, ConfigError) as error:
        raise ConfigError(f"{text[:80]!r} names no workers.", advice=advice) from error
    if url.scheme != _SCHEME or not port or url.username is not None or url.path.strip("/") or url.query:
        raise ConfigError(f"{text[:80]!r} names no workers.", advice=advice)
    return join_host_port(host, port)
