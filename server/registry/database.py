"""Transactions on SQLite or PostgreSQL: begun right, retried after a lost race, failures as our errors."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session, sessionmaker

from common.errors import CapacityError, ConfigError, ConflictError, Error, InvalidInputError, LinkError

_ATTEMPTS: Final = 10
_BUSY_SECONDS: Final = 20
_CONNECT_SECONDS: Final = 5
_KEPT_CONNECTIONS: Final = 5
_MORE_CONNECTIONS: Final = 10  # under load; a PostgreSQL takes 100 in all, unless told otherwise
_STATEMENT_MS: Final = 30_000
_LOST_RACE: Final = ("40001", "40P01", "55P03")  # PostgreSQL: serialization, deadlock, lock not available
_FULL: Final = ("53100", "54000")  # PostgreSQL: disk full, limit exceeded

_UNFIT: Final = ("not a database", "unable to open database file", "readonly database", "malformed")
_ADVICE: Final = "Use sqlite:///FILE or postgresql+psycopg://USER@HOST/DATABASE."

Result = TypeVar("Result")


class Database:
    """One engine, shared by all threads."""

    def __init__(self, url: str) -> None:
        self.engine = open_engine(url)
        self._reading = sessionmaker(self.engine)
        self._writing = sessionmaker(self.engine.execution_options(nestfleet_writes=True))

    def read(self, work: Callable[[Session], Result]) -> Result:
        """What ``work`` gives, seen in one transaction that changes nothing."""
        try:
            with self._reading() as session:
                return work(session)
        except (DBAPIError, PoolTimeoutError) as error:
            raise converted(error) from error

    def write(self, work: Callable[[Session], Result]) -> Result:
        """What ``work`` gives, committed whole or not at all; run again when somebody else was first.

        Raises:
            ConflictError: The race was lost every time.
            CapacityError: The disk is full.
            LinkError: The database is away.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                with self._writing.begin() as session:
                    return work(session)
            except (DBAPIError, PoolTimeoutError) as error:
                if attempt >= _ATTEMPTS or not _lost_race(error):
                    raise converted(error) from error

    def close(self) -> None:
        """Connections are closed."""
        self.engine.dispose()


def open_engine(url: str) -> Engine:
    """An engine for ``sqlite:///FILE`` or ``postgresql+psycopg://…``.

    Raises:
        ConfigError: The URL names no database of these kinds, or its folder cannot be made.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ConfigError("The database URL cannot be read.", advice=_ADVICE) from error
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed)
    if parsed.drivername != "postgresql+psycopg":
        raise ConfigError(f"{parsed.drivername!r} is no database that the registry knows.", advice=_ADVICE)
    # A database made without an encoding (SQL_ASCII) would answer in bytes.
    options = f"-c timezone=UTC -c client_encoding=UTF8 -c statement_timeout={_STATEMENT_MS}"
    return create_engine(
        parsed,
        pool_pre_ping=True,
        pool_size=_KEPT_CONNECTIONS,
        max_overflow=_MORE_CONNECTIONS,
        connect_args={"connect_timeout": _CONNECT_SECONDS, "options": options},
    )


def _open_sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise ConfigError("The registry needs a database that outlives a connection.", advice=_ADVICE)
    try:
        Path(url.database).absolute().parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"The folder of {url.database} cannot be made: {error.strerror}.") from error
    try:
        engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS})
    except NoSuchModuleError as error:
        raise ConfigError(f"{url.drivername!r} is no SQLite driver.", advice=_ADVICE) from error
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    """Transactions are ours to begin; a writer does not keep readers waiting (WAL)."""
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    """A writer takes its lock at once: upgrading a read lock fails without waiting when two try."""
    writes = connection.get_execution_options().get("nestfleet_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _lost_race(error: SQLAlchemyError) -> bool:
    return (
        isinstance(error, IntegrityError)
        or _sqlstate(error) in _LOST_RACE
        or "database is locked" in _original(error)
    )


def _sqlstate(error: SQLAlchemyError) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", "") or "")


def _original(error: SQLAlchemyError) -> str:
    return str(getattr(error, "orig", ""))


def converted(error: SQLAlchemyError) -> Error:
    """What a database failure means here; statements and parameters stay out of the message."""
    if _sqlstate(error) in _FULL or "disk is full" in _original(error):
        return CapacityError("The registry's disk is full.", advice="Free room on the database's disk.")
    if isinstance(error, IntegrityError):
        return ConflictError("Somebody else changed the registry at the same time.", advice="Try again.")
    if any(sign in _original(error) for sign in _UNFIT):
        return ConfigError("The registry's file is no database, or may not be written.", advice=_ADVICE)
    if _sqlstate(error).startswith("22"):
        return InvalidInputError("A value does not fit the registry.")
    return LinkError("The registry's database does not answer.", advice="See the server's log.")
