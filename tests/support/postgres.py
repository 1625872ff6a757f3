"""A private PostgreSQL cluster on a Unix socket; no port, no fsync, gone afterwards."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
from psycopg import sql

URL_VARIABLE = "NESTFLEET_TEST_POSTGRES_URL"
_ACCOUNT = "postgres"
_MEMORY = Path("/dev/shm")  # noqa: S108  mkdtemp makes the name; a cluster is a thousand small files


def unavailable_because() -> str:
    """Why no PostgreSQL can be had here; empty when it can."""
    if os.environ.get(URL_VARIABLE):
        return ""
    if _binaries() is None:
        return f"no PostgreSQL server on this machine, and {URL_VARIABLE} is not set"
    if os.geteuid() == 0 and not _has_account():
        return "PostgreSQL does not run as root, and there is no postgres account"
    return ""


@contextmanager
def running() -> Iterator[str]:
    """The conninfo of a PostgreSQL server whose user may make databases."""
    given = os.environ.get(URL_VARIABLE)
    if given:
        yield given.replace("postgresql+psycopg://", "postgresql://")
        return
    binaries = _binaries()
    assert binaries is not None
    account = _ACCOUNT if os.geteuid() == 0 else None
    # A socket's path has at most 107 characters, so this lies directly in the temporary folder.
    folder = Path(tempfile.mkdtemp(prefix="nf-pg-", dir=_MEMORY if _MEMORY.is_dir() else None))
    try:
        if account:
            shutil.chown(folder, account)
        data = folder / "data"
        make: list[str | Path] = [binaries / "initdb", "-D", data, "-U", _ACCOUNT, "-A", "trust", "-N"]
        # No encoding: the harder case, and what a bare C locale gives.
        _run([*make, "-E", "SQL_ASCII", "--locale=C"], account)
        settings = f"-k {folder} -c listen_addresses='' -c fsync=off -c synchronous_commit=off"
        control: list[str | Path] = [binaries / "pg_ctl", "-D", data, "-l", folder / "log", "-w"]
        _run([*control, "-o", settings, "start"], account)
        try:
            yield f"postgresql://{_ACCOUNT}@/postgres?host={folder}"
        finally:
            _run([*control, "-m", "immediate", "stop"], account)
    finally:
        shutil.rmtree(folder)


@contextmanager
def database(conninfo: str, name: str) -> Iterator[str]:
    """The URL for SQLAlchemy of a new database; gone afterwards."""
    with psycopg.connect(conninfo, autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        connection.execute(drop)
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        parts = urlsplit(conninfo)
        yield urlunsplit(parts._replace(scheme="postgresql+psycopg", path=f"/{name}"))
        connection.execute(drop)


def _binaries() -> Path | None:
    on_path = shutil.which("initdb")
    if on_path and shutil.which("pg_ctl"):
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: path.parts[-3])
    return found[-1].parent if found else None


def _has_account() -> bool:
    return subprocess.run(["id", _ACCOUNT], capture_output=True, check=False).returncode == 0


def _run(command: list[str | Path], account: str | None) -> None:
    # pg_ctl's child keeps what it inherits open, so its output goes nowhere that somebody waits on.
    subprocess.run(
        [str(part) for part in command],
        user=account,
        group=account,
        extra_groups=[] if account else None,
        cwd="/",
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
    )
