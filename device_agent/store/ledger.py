"""The ledger: every payload byte that this store received, attributed once, exact after any kill.

Files come first, the ledger second, and the ledger learns of bytes only as "this item now has so many bytes
on disk". That is idempotent, so a start after a kill states all sizes again and the counts are right to the
byte: what is above an item's high-water mark is payload, what is below it came a second time.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from device_agent.store.failures import database_errors

_SCHEMA: Final = """
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
PRAGMA user_version = 1;
"""
_OBSERVE: Final = """
UPDATE items SET
    repeated_bytes = repeated_bytes + max(0, min(:size, received_bytes) - present_bytes),
    received_bytes = max(received_bytes, :size),
    present_bytes = :size,
    changed = :now
WHERE digest = :digest AND present_bytes != :size
"""
_TOTALS: Final = """
SELECT model, version, kind, level, sum(received_bytes), sum(repeated_bytes),
    sum(received_bytes >= max(size_bytes, 1)), max(changed)
FROM items GROUP BY model, version, kind, level ORDER BY max(changed) DESC, model, version, kind, level
"""


class Kind(StrEnum):
    """What a transfer was for, as ``TransferKind`` in control.proto says."""

    BASE = "base"
    SHARD = "shard"
    UPDATE = "update"
    METADATA = "metadata"
    RETRANSMITTED = "retransmitted"


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is received as a whole: a blob, or a manifest's frame.

    Attributes:
        digest: Its name.
        kind: METADATA, BASE or SHARD; blobs after a model's first version count as UPDATE by themselves.
        level: The blob's level; 0 for metadata.
        size_bytes: In whole; 0 where it is not known beforehand.
    """

    digest: str
    kind: Kind
    level: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Total:
    """Bytes received so far for one version, kind and level."""

    model: str
    version: int
    kind: Kind
    level: int
    payload_bytes: int
    blobs: int


class Ledger:
    """SQLite in WAL mode. Blocking, thread-safe.

    Attributes:
        ledger_id: Random per database.
        changes: Rises with every change of a count.
    """

    def __init__(self, path: Path) -> None:
        self._using = threading.Lock()
        self.changes = 0
        with database_errors():
            self._db = sqlite3.connect(path, check_same_thread=False)
            # Without this, WAL needs a file of shared memory, which a full disk refuses even to a reader.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = FULL")
            if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
            self.ledger_id: str = self._db.execute("SELECT id FROM ledger").fetchone()[0]

    def expect(self, model: str, version: int, *items: Item) -> None:
        """The items are attributed to a version, durably; the first attribution of an item stays."""
        with self._using, database_errors(), self._db:
            for item in items:
                self._expect(model, version, item)

    def observe(self, digest: str, on_disk_bytes: int) -> None:
        """The item has so many bytes on disk. Kept in memory until ``commit``, or the next start's look."""
        with self._using, database_errors():
            values = {"size": on_disk_bytes, "digest": digest, "now": _now()}
            self.changes += self._db.execute(_OBSERVE, values).rowcount

    def waste(self, digest: str, count_bytes: int) -> None:
        """Bytes came for the item that nobody can use."""
        with self._using, database_errors(), self._db:
            self._db.execute(
                "UPDATE items SET repeated_bytes = repeated_bytes + ?, changed = ? WHERE digest = ?",
                (count_bytes, _now(), digest),
            )
            self.changes += 1

    def reach(self, model: str, version: int, level: int) -> None:
        """The version has run at the level."""
        with self._using, database_errors(), self._db:
            self.changes += self._db.execute(
                "INSERT OR IGNORE INTO reached VALUES (?, ?, ?)", (model, version, level)
            ).rowcount

    def commit(self) -> None:
        """What was observed is durable."""
        with self._using, database_errors():
            self._db.commit()

    def sizes(self) -> Mapping[str, int]:
        """Every item's digest and the bytes that it was last seen with."""
        with self._using, database_errors():
            return dict(self._db.execute("SELECT digest, present_bytes FROM items"))

    def totals(self) -> list[Total]:
        """Every count, the most recently changed first."""
        with self._using, database_errors():
            rows = self._db.execute(_TOTALS).fetchall()
        totals = []
        for model, version, kind, level, received, repeated, blobs, _ in rows:
            if received:
                totals.append(Total(model, version, Kind(kind), level, received, blobs))
            if repeated:
                totals.append(Total(model, version, Kind.RETRANSMITTED, level, repeated, 0))
        return _merged(totals)

    def reached(self) -> dict[tuple[str, int], tuple[int, ...]]:
        """Version to the levels at which it has run, ascending."""
        with self._using, database_errors():
            rows = self._db.execute("SELECT model, version, level FROM reached ORDER BY 1, 2, 3").fetchall()
        levels: dict[tuple[str, int], tuple[int, ...]] = {}
        for model, version, level in rows:
            levels[model, version] = (*levels.get((model, version), ()), level)
        return levels

    def close(self) -> None:
        """Everything is durable, the file closed."""
        with self._using, database_errors():
            self._db.commit()
            self._db.close()

    def _expect(self, model: str, version: int, item: Item) -> None:
        known = self._db.execute("SELECT 1 FROM items WHERE digest = ?", (item.digest,)).fetchone()
        if known is None:
            kind = self._attribute(model, version, item.kind)
            self._db.execute(
                "INSERT INTO items (digest, model, version, kind, level, size_bytes, changed)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (item.digest, model, version, kind, item.level, item.size_bytes, _now()),
            )

    def _attribute(self, model: str, version: int, kind: Kind) -> Kind:
        if kind is Kind.METADATA:
            return kind
        self._db.execute("INSERT OR IGNORE INTO first_versions VALUES (?, ?)", (model, version))
        query = "SELECT version FROM first_versions WHERE model = ?"
        first = self._db.execute(query, (model,)).fetchone()[0]
        return kind if first == version else Kind.UPDATE


def by_kind(totals: list[Total]) -> dict[str, int]:
    """Kind to bytes, over all versions and levels; every kind is named."""
    sums = {kind.value: 0 for kind in Kind}
    for total in totals:
        sums[total.kind.value] += total.payload_bytes
    return sums


def _merged(totals: list[Total]) -> list[Total]:
    """One total per version, kind and level: retransmissions come from items of several kinds."""
    merged: dict[tuple[str, int, Kind, int], Total] = {}
    for total in totals:
        key = (total.model, total.version, total.kind, total.level)
        other = merged.get(key)
        payload_bytes = total.payload_bytes + (other.payload_bytes if other else 0)
        merged[key] = Total(*key, payload_bytes, total.blobs + (other.blobs if other else 0))
    return list(merged.values())


def _now() -> int:
    return time.time_ns()
