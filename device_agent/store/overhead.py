"""What crossed the sockets beside payload, by version; part of the ledger, in its transactions."""

from __future__ import annotations

import sqlite3
from typing import Final

# Bytes that crossed before any version was wanted wait here for the first one that is.
NO_VERSION: Final = ("", 0)

_SOCKETS: Final = "SELECT open_bytes, counted_bytes, crossed_bytes FROM sockets"
_NOTE: Final = "UPDATE sockets SET open_bytes = ?, counted_bytes = ?, crossed_bytes = ?"
_BEGIN: Final = "UPDATE sockets SET crossed_bytes = 0 WHERE crossed_bytes != 0"
_ADD: Final = """
INSERT INTO overhead VALUES (?, ?, ?, ?)
ON CONFLICT DO UPDATE SET
    overhead_bytes = overhead_bytes + excluded.overhead_bytes, changed = excluded.changed
"""


class Overhead:
    """Explains socket bytes by what the ledger's items received. Not thread-safe: the ledger guards it.

    Bytes that crossed and that no item explains are *open*. While a transfer is under way some of them are
    payload that has not reached the disk yet. Once nothing is under way they are overhead: framing, requests,
    control messages, and what a broken stream had brought that nobody could use.

    Every value is absolute, so a call after one whose transaction was undone makes up for it.
    """

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        with database:
            database.execute(_BEGIN)

    def open_bytes(self, counted_bytes: int) -> int:
        """Not explained by items that received ``counted_bytes`` in all; below 0 where sockets lag behind."""
        open_bytes, counted_before, _ = self._database.execute(_SOCKETS).fetchone()
        return int(open_bytes - (counted_bytes - counted_before))

    @property
    def settled_bytes(self) -> int:
        """All overhead that is certain."""
        query = "SELECT coalesce(sum(overhead_bytes), 0) FROM overhead"
        return int(self._database.execute(query).fetchone()[0])

    def cross(
        self, crossed_bytes: int, counted_bytes: int, ref: tuple[str, int], *, settled: bool, now: int
    ) -> None:
        """So many bytes crossed since this process began; items explain ``counted_bytes`` of all ever.

        Where items grew since the last call, nothing settles yet: a socket may be seen a moment before them.
        Below 0 at rest means that a socket came and went unseen: nothing is taken back for it.
        """
        before: tuple[int, int, int] = self._database.execute(_SOCKETS).fetchone()
        _, counted_before, crossed_before = before
        open_bytes = self.open_bytes(counted_bytes) + crossed_bytes - crossed_before
        if settled and counted_bytes == counted_before:
            self._settle(max(0, open_bytes), ref, now)
            open_bytes = 0
        noted = (open_bytes, counted_bytes, crossed_bytes)
        if noted != before:  # at rest nothing is written
            self._database.execute(_NOTE, noted)

    def rows(self) -> list[tuple[int, str, int, int]]:
        """Time of the last change, model, version and bytes."""
        return self._database.execute(
            "SELECT changed, model, version, overhead_bytes FROM overhead"
        ).fetchall()

    def _settle(self, size_bytes: int, ref: tuple[str, int], now: int) -> None:
        if ref != NO_VERSION:
            size_bytes += self._take_versionless()
        if size_bytes:
            self._database.execute(_ADD, (*ref, size_bytes, now))

    def _take_versionless(self) -> int:
        query = "SELECT overhead_bytes FROM overhead WHERE model = ? AND version = ?"
        row = self._database.execute(query, NO_VERSION).fetchone()
        self._database.execute("DELETE FROM overhead WHERE model = ? AND version = ?", NO_VERSION)
        return int(row[0]) if row else 0
