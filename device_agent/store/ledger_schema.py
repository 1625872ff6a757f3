"""The ledger's tables, and how a file of an earlier agent gets those that it lacks."""

from __future__ import annotations

import sqlite3
from typing import Final

_ITEMS: Final = """
CREATE TABLE ledger (id TEXT NOT NULL);
CREATE TABLE first_versions (model TEXT PRIMARY KEY, version INTEGER NOT NULL);
CREATE TABLE items (
    digest TEXT PRIMARY KEY, model TEXT NOT NULL, version INTEGER NOT NULL, kind TEXT NOT NULL,
    level INTEGER NOT NULL, size_bytes INTEGER NOT NULL, present_bytes INTEGER NOT NULL DEFAULT 0,
    received_bytes INTEGER NOT NULL DEFAULT 0, repeated_bytes INTEGER NOT NULL DEFAULT 0,
    changed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE TABLE reached (
    model TEXT NOT NULL, version INTEGER NOT NULL, level INTEGER NOT NULL,
    PRIMARY KEY (model, version, level)
) WITHOUT ROWID;
INSERT INTO ledger VALUES (lower(hex(randomblob(16))));
"""
# What an earlier agent received was never compared with its sockets: no overhead is made up for it.
_SOCKETS: Final = """
CREATE TABLE overhead (
    model TEXT NOT NULL, version INTEGER NOT NULL, overhead_bytes INTEGER NOT NULL, changed INTEGER NOT NULL,
    PRIMARY KEY (model, version)
) WITHOUT ROWID;
CREATE TABLE sockets (
    open_bytes INTEGER NOT NULL, counted_bytes INTEGER NOT NULL, crossed_bytes INTEGER NOT NULL
);
INSERT INTO sockets SELECT 0, coalesce(sum(received_bytes + repeated_bytes), 0), 0 FROM items;
"""
# Step n brings a file from user_version n to n + 1.
_STEPS: Final = (_ITEMS, _SOCKETS)


def prepare(database: sqlite3.Connection) -> None:
    """The file has every table, in one transaction; counts that it held are kept."""
    version: int = database.execute("PRAGMA user_version").fetchone()[0]
    missing = _STEPS[version:]
    if missing:
        script = "".join(missing)
        database.executescript(f"BEGIN; {script} PRAGMA user_version = {len(_STEPS)}; COMMIT;")
