"""The ledger: every byte that this store's device moved, attributed once, payload exact after any kill.

Files come first, the ledger second, and the ledger learns of bytes only as "this item now has so many bytes
on disk". That is idempotent, so a start after a kill states all sizes again and the counts are right to the
byte: what is above an item's high-water mark is payload, what is below it came a second time.

What crossed the sockets beside that is overhead. It is known from the kernel and gone with the process, so a
kill loses the overhead since the last commit, and nothing else; see ``overhead``.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from device_agent.store.failures import database_errors
from device_agent.store.ledger_schema import prepare
from device_agent.store.overhead import NO_VERSION, Overhead

_OBSERVE: Final = """
UPDATE items SET
    repeated_bytes = repeated_bytes + :repeated, received_bytes = received_bytes + :new,
    present_bytes = :size, changed = :now
WHERE digest = :digest
"""
_TOTALS: Final = """
SELECT model, version, kind, level, sum(received_bytes), sum(repeated_bytes),
    sum(received_bytes >= max(size_bytes, 1)), max(changed)
FROM items GROUP BY model, version, kind, level ORDER BY max(changed) DESC, model, version, kind, level
"""


_log = logging.getLogger(__name__)


class Kind(StrEnum):
    """What a transfer was for, as ``TransferKind`` in control.proto says."""

    BASE = "base"
    SHARD = "shard"
    UPDATE = "update"
    METADATA = "metadata"
    RETRANSMITTED = "retransmitted"
    OVERHEAD = "overhead"
    DELTA = "delta"


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is received as a whole: a blob, or a manifest's frame.

    Attributes:
        digest: Its name.
        kind: METADATA, DELTA, BASE or SHARD; the last two count as UPDATE by themselves after a model's first
            version.
        level: The blob's level; 0 for metadata.
        size_bytes: In whole; 0 where it is not known beforehand.
    """

    digest: str
    kind: Kind
    level: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Total:
    """Bytes moved so far for one version, kind and level; ``NO_VERSION`` before any version was wanted."""

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
        changes: Rises with every change of a count, but for overhead: reporting makes some by itself.
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
            prepare(self._db)
            self.ledger_id: str = self._db.execute("SELECT id FROM ledger").fetchone()[0]
            self._overhead = Overhead(self._db)
            self._counted_bytes: int | None = None

    def expect(self, model: str, version: int, *items: Item) -> None:
        """The items are attributed to a version, durably; the first attribution of an item stays."""
        with self._changing(), self._db:
            for item in items:
                self._expect(model, version, item)

    def observe(self, digest: str, on_disk_bytes: int) -> None:
        """The item has so many bytes on disk. Kept in memory until ``commit``, or the next start's look."""
        query = "SELECT present_bytes, received_bytes FROM items WHERE digest = ?"
        with self._changing():
            row = self._db.execute(query, (digest,)).fetchone()
            if row is None or row[0] == on_disk_bytes:
                return
            present_bytes, received_bytes = row
            repeated = max(0, min(on_disk_bytes, received_bytes) - present_bytes)
            new = max(0, on_disk_bytes - received_bytes)
            counted_bytes = self._counted()
            values = {
                "repeated": repeated,
                "new": new,
                "size": on_disk_bytes,
                "digest": digest,
                "now": _now(),
            }
            self._db.execute(_OBSERVE, values)
            self._counted_bytes = counted_bytes + repeated + new
            self.changes += 1

    def place(self, digest: str, size_bytes: int) -> None:
        """The item is about to be on disk whole without having been received; durable.

        To be called before the file is there: a kill between the two is then seen as a file that is missing,
        and not as bytes that came.
        """
        with self._using, database_errors(), self._db:
            self._db.execute("UPDATE items SET present_bytes = ? WHERE digest = ?", (size_bytes, digest))

    def waste(self, digest: str, count_bytes: int) -> None:
        """Bytes came for the item that nobody can use."""
        with self._changing(), self._db:
            counted_bytes = self._counted()
            done = self._db.execute(
                "UPDATE items SET repeated_bytes = repeated_bytes + ?, changed = ? WHERE digest = ?",
                (count_bytes, _now(), digest),
            )
            self._counted_bytes = counted_bytes + count_bytes * done.rowcount
            self.changes += 1

    def cross(self, crossed_bytes: int, ref: tuple[str, int] = NO_VERSION, *, settled: bool) -> None:
        """So many bytes crossed the sockets since this ledger opened, both ways; durable with ``commit``.

        Args:
            crossed_bytes: Never less than before.
            ref: The version that the device works on.
            settled: Whether no transfer is under way: what the items do not explain is overhead then, once a
                second call finds that they did not change since the one before.
        """
        with self._changing():
            self._overhead.cross(crossed_bytes, self._counted(), ref, settled=settled, now=_now())

    def item_bytes(self) -> int:
        """All that items received, once and again. Cheap: no query."""
        with self._using, database_errors():
            return self._counted()

    def overhead_bytes(self) -> int:
        """All overhead that is certain: a sum over a row per version."""
        with self._using, database_errors():
            return self._overhead.settled_bytes

    def total_bytes(self) -> int:
        """All bytes that this device ever moved, of every kind and both ways: what a link is charged for.

        Cheap: one row, and a sum over a row per version. It never falls; what crossed and is not
        attributed to a kind yet is in it.
        """
        with self._using, database_errors():
            counted_bytes = self._counted()
            return (
                counted_bytes
                + self._overhead.settled_bytes
                + max(0, self._overhead.open_bytes(counted_bytes))
            )

    def reach(self, model: str, version: int, level: int) -> None:
        """The version has run at the level."""
        with self._changing(), self._db:
            self.changes += self._db.execute(
                "INSERT OR IGNORE INTO reached VALUES (?, ?, ?)", (model, version, level)
            ).rowcount

    def commit(self) -> None:
        """What was observed is durable."""
        with self._changing():
            self._db.commit()

    def sizes(self) -> Mapping[str, int]:
        """Every item's digest and the bytes that it was last seen with."""
        with self._using, database_errors():
            return dict(self._db.execute("SELECT digest, present_bytes FROM items"))

    def totals(self) -> list[Total]:
        """Every count, the most recently changed first."""
        with self._using, database_errors():
            rows = self._db.execute(_TOTALS).fetchall()
            overhead = self._overhead.rows()
        dated: list[tuple[int, Total]] = [
            (changed, Total(model, version, Kind.OVERHEAD, 0, size_bytes, 0))
            for changed, model, version, size_bytes in overhead
        ]
        for model, version, kind, level, received, repeated, blobs, changed in rows:
            if received:
                dated.append((changed, Total(model, version, Kind(kind), level, received, blobs)))
            if repeated:
                dated.append((changed, Total(model, version, Kind.RETRANSMITTED, level, repeated, 0)))
        return _merged([total for _, total in sorted(dated, key=lambda item: -item[0])])

    def reached(self) -> dict[tuple[str, int], tuple[int, ...]]:
        """Version to the levels at which it has run, ascending."""
        with self._using, database_errors():
            rows = self._db.execute("SELECT model, version, level FROM reached ORDER BY 1, 2, 3").fetchall()
        levels: dict[tuple[str, int], tuple[int, ...]] = {}
        for model, version, level in rows:
            levels[model, version] = (*levels.get((model, version), ()), level)
        return levels

    def close(self) -> None:
        """Everything is durable, the file closed.

        Where the disk refuses, overhead since the last commit is lost: a start states what is on disk again.
        """
        with self._using, database_errors():
            try:
                self._db.commit()
            except sqlite3.OperationalError as error:
                _log.warning("The ledger's last counts are lost: %s", error)
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

    @contextmanager
    def _changing(self) -> Generator[None, None, None]:
        """Alone; a change that fails may undo more than itself, so nothing remembered is trusted after it."""
        with self._using, database_errors():
            try:
                yield
            except BaseException:
                self._counted_bytes = None
                raise

    def _counted(self) -> int:
        if self._counted_bytes is None:
            query = "SELECT coalesce(sum(received_bytes + repeated_bytes), 0) FROM items"
            self._counted_bytes = int(self._db.execute(query).fetchone()[0])
        return self._counted_bytes

    def _attribute(self, model: str, version: int, kind: Kind) -> Kind:
        if kind in (Kind.METADATA, Kind.DELTA):
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
