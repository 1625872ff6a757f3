"""Databases to hold the registry against: SQLite always, PostgreSQL where there is one."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.registry.database import open_engine
from server.registry.migrate import migrate
from server.registry.repository import Registry
from server.registry.tables import Table
from tests.support import postgres

_NUMBERS = itertools.count()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/new folder/registry.sqlite"
    else:
        conninfo = request.getfixturevalue("postgres_server")
        with postgres.database(conninfo, f"nestfleet_test_{next(_NUMBERS)}") as url:
            yield url


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An SQLite database with the newest schema, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "registry.sqlite"
    migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def migrated_database(postgres_server: str) -> Iterator[str]:
    """The URL of a PostgreSQL database with the newest schema, to be emptied after each test."""
    with postgres.database(postgres_server, "nestfleet_test") as url:
        migrate(url)
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def registry(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """An empty registry with the newest schema."""
    if request.param == "sqlite":
        path = tmp_path / "registry.sqlite"
        shutil.copy(request.getfixturevalue("migrated_file"), path)
        opened = Registry(f"sqlite:///{path}")
    else:
        opened = Registry(request.getfixturevalue("migrated_database"))
    yield opened
    opened.close()
    if request.param == "postgresql":
        empty(request.getfixturevalue("migrated_database"))


def empty(url: str) -> None:
    engine = open_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(f"TRUNCATE {', '.join(Table.metadata.tables)}")
    engine.dispose()
