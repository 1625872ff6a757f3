"""The migrated schema is what the tables say, on every database, whoever migrates."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Integer, inspect

from common.errors import ConfigError, ConflictError, LinkError
from common.transfer_limits import NO_LIMITS
from server.registry import migrate as migration
from server.registry.database import open_engine
from server.registry.repository import Registry
from server.registry.tables import Table
from tests.support.factories import make_version

MIGRATIONS = Path(migration.__file__).parent / "migrations"


def test_the_migrated_schema_is_what_the_tables_say(database_url: str) -> None:
    migration.migrate(database_url)
    engine = open_engine(database_url)
    with engine.connect() as connection:
        assert migration.differences(connection) == []
        assert set(inspect(connection).get_table_names()) == {*Table.metadata.tables, "alembic_version"}
    engine.dispose()


def test_a_column_that_no_migration_makes_is_noticed(database_url: str) -> None:
    migration.migrate(database_url)
    engine = open_engine(database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE transfers DROP COLUMN blobs")
    with engine.connect() as connection:
        assert "blobs" in str(migration.differences(connection))
    engine.dispose()


def test_migrating_again_keeps_what_is_there(database_url: str) -> None:
    registry = Registry.open(database_url)
    registry.add_version("digits", make_version("digits"))
    migration.migrate(database_url)
    assert registry.get_version("digits").version == 1
    registry.close()


def test_a_device_from_before_limits_of_transfer_has_none(database_url: str) -> None:
    with migration._locked(database_url) as connection:
        command.upgrade(migration._config(connection), "2026_11_23_2230")
        connection.exec_driver_sql(
            "INSERT INTO devices (device_id, key_sha256, agent_version, platform, enrolled_unix_ms,"
            " last_seen_unix_ms, online, session_id, max_level, allow_older, assignment_generation,"
            " issued_unix_ms, memory_budget_bytes, limits_generation)"
            " VALUES ('board-1', 'key', '', '', 1, 1, false, '', 0, false, 0, 0, 7, 1)"
        )
        connection.exec_driver_sql(
            "INSERT INTO newest_proven (device_id, model, version) VALUES ('board-1', 'digits', 3)"
        )
    registry = Registry.open(database_url)
    device = registry.get_device("board-1")
    assert (device.memory_budget_bytes, device.transfer_limits) == (7, NO_LIMITS)
    registry.close()


def test_what_was_assigned_before_there_could_be_several_stays_so_and_comes_back(database_url: str) -> None:
    registry = Registry.open(database_url)
    digits = [registry.add_version("digits", make_version("digits")) for _ in range(2)]
    registry.add_version("speech", make_version("speech"))
    for name in ("board-1", "board-2"):
        registry.enrol(name, "key", "", "", 1)
    registry.assign(["board-1"], "digits", 2, further=[("speech", 1)], max_level=6, now_ms=7)
    registry.record_state("board-1", b"state", ("digits", 2), 8)
    registry.close()

    def move(how: Callable[[Config, str], None], revision: str) -> None:
        with migration._locked(database_url) as connection:
            how(migration._config(connection), revision)

    move(command.downgrade, "2026_11_25_1520")
    engine = open_engine(database_url)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT assigned_model, assigned_version, max_level, issued_unix_ms FROM devices"
            " ORDER BY device_id"
        )
        assert [tuple(row) for row in rows] == [("digits", 2, 6, 7), (None, None, 0, 0)]
    engine.dispose()
    move(command.upgrade, "head")
    registry = Registry(database_url)
    (assigned,) = registry.get_device("board-1").assigned
    assert (assigned.model, assigned.version, assigned.max_level) == ("digits", 2, 6)
    assert (assigned.manifest_digest, assigned.issued_unix_ms) == (digits[1].manifest_digest, 7)
    assert registry.get_device("board-1").assignment_generation == 1
    assert registry.get_device("board-2").assigned == ()
    with pytest.raises(ConflictError, match="board-1"):
        registry.delete_version("digits", 2)
    registry.close()


def test_servers_that_start_at_once_wait_for_each_other(database_url: str) -> None:
    migrating = [sys.executable, "-m", "server.registry.migrate", "--url", database_url]
    with ThreadPoolExecutor(2) as pool:
        runs = pool.map(
            lambda _: subprocess.run(migrating, capture_output=True, text=True, timeout=60, check=False),
            range(2),
        )
        assert [(run.returncode, run.stderr) for run in runs] == [(0, "")] * 2
    registry = Registry(database_url)
    assert registry.list_versions() == []
    registry.close()


def test_there_is_one_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert len(ScriptDirectory.from_config(config).get_heads()) == 1


def test_the_check_passes_and_fails_with_the_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert migration.main(["--check"]) == 0
    transfers = Table.metadata.tables["transfers"]
    column: Column[int] = Column("surprise", Integer)
    transfers.append_column(column)
    try:
        assert migration.main(["--check"]) == 1
    finally:
        transfers._columns.remove(column)
    assert "surprise" in capsys.readouterr().err
    assert migration.main(["--check"]) == 0


@pytest.mark.parametrize(
    "url", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://h/d", "postgresql://h/d"]
)
def test_a_url_that_names_no_fit_database_is_refused(url: str) -> None:
    with pytest.raises(ConfigError):
        Registry.open(url)


def test_a_database_that_is_away_is_a_broken_link(tmp_path: Path) -> None:
    with pytest.raises(LinkError, match="does not answer: connection") as away:
        Registry.open(f"postgresql+psycopg://someone:secret@/x?host={tmp_path}")
    assert "secret" not in str(away.value)


def test_a_file_that_is_no_database_is_told_apart(tmp_path: Path) -> None:
    (tmp_path / "registry.sqlite").write_text("a diary, not a database\n" * 100)
    with pytest.raises(ConfigError, match="no database"):
        Registry.open(f"sqlite:///{tmp_path}/registry.sqlite")
