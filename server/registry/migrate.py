"""Brings a database to the newest schema.

``python -m server.registry.migrate --check`` fails when the tables and the migrations differ;
``--revision TEXT`` writes the migration that is missing; ``--url URL`` migrates a database.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from common.errors import Error, LinkError
from server.registry.database import converted, open_engine
from server.registry.tables import Table

_FOLDER: Final = Path(__file__).parent / "migrations"
_LOCK_KEY: Final = 0x6E657374  # any number that all servers agree on
_IN_PROCESS: Final = threading.Lock()  # Alembic keeps its context in a module


def migrate(url: str) -> None:
    """The database has the newest schema; servers that start at once wait for each other.

    Raises:
        ConfigError: The URL names no database that the registry knows.
        LinkError: The database is away.
    """
    try:
        with _IN_PROCESS, _locked(url) as connection:
            command.upgrade(_config(connection), "head")
    except DBAPIError as error:
        raise _explained(error) from error


def differences(connection: Connection) -> list[Any]:
    """What a migrated database would need to be as ``tables.py`` says; nothing, if all is well."""
    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "compare_server_default": True}
    )
    return list(compare_metadata(context, Table.metadata))


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of the command line."""
    parser = argparse.ArgumentParser(prog="python -m server.registry.migrate", description=__doc__)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--check", action="store_true", help="fail when tables and migrations differ")
    action.add_argument("--revision", metavar="TEXT", help="write the migration that is missing")
    action.add_argument("--url", help="migrate this database")
    options = parser.parse_args(arguments)
    if options.url:
        migrate(options.url)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        return _work_on_fresh(f"sqlite:///{folder}/fresh.sqlite", options.revision)


def _work_on_fresh(url: str, revision: str | None) -> int:
    migrate(url)
    with _locked(url) as connection:
        if revision:
            today = datetime.now(UTC).strftime("%Y_%m_%d_%H%M")
            command.revision(_config(connection), revision, autogenerate=True, rev_id=today)
            return 0
        found = differences(connection)
    for difference in found:
        sys.stderr.write(f"Tables and migrations differ: {difference}\n")
    if found:
        sys.stderr.write(
            "Run `python -m server.registry.migrate --revision TEXT`, and look at what it wrote.\n"
        )
    return 1 if found else 0


def _explained(error: DBAPIError) -> Error:
    """With the database's own words, which the one who starts a server may read."""
    meant = converted(error)
    if not isinstance(meant, LinkError):
        return meant
    words = (str(error.orig).splitlines() or [""])[0]
    return LinkError(f"The registry's database does not answer: {words}")


@contextmanager
def _locked(url: str) -> Iterator[Connection]:
    """A transaction that no other migration runs beside."""
    engine = open_engine(url)
    try:
        with engine.connect() as plain:
            connection = plain.execution_options(nestfleet_writes=True)
            if connection.dialect.name == "sqlite":
                _suspend_references(connection)
            with connection.begin():
                if connection.dialect.name == "postgresql":
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK_KEY})
                yield connection
                if connection.dialect.name == "sqlite":
                    _check_references(connection)
    finally:
        engine.dispose()


def _suspend_references(connection: Connection) -> None:
    """SQLite changes a table by making it anew, and would not drop the old one that others refer to.

    It takes this only before the transaction begins.
    """
    driver: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
    driver.execute("PRAGMA foreign_keys=OFF").close()


def _check_references(connection: Connection) -> None:
    """Every row that another refers to is there; else nothing of the migration has happened."""
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
    if broken:
        tables = ", ".join(sorted({str(row[0]) for row in broken}))
        raise RuntimeError(f"the migration leaves rows of {tables} that refer to nothing")


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


if __name__ == "__main__":
    sys.exit(main())
