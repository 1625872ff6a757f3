"""Overhead in the ledger: every byte of the sockets is explained once, whatever dies when."""

from __future__ import annotations

import sqlite3
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.errors import CapacityError
from device_agent.store.ledger import Item, Kind, Ledger, Total, by_kind

BLOB = "a" * 64
SIZE = 1 << 30
REF = ("net", 1)

FIRST_SCHEMA = """
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
INSERT INTO ledger VALUES ('cafe');
INSERT INTO items VALUES ('d', 'net', 1, 'base', 4, 10, 10, 10, 3, 5);
INSERT INTO reached VALUES ('net', 1, 4);
PRAGMA user_version = 1;
"""


def expect_a_lot(ledger: Ledger) -> None:
    for number in range(1000):
        ledger.expect(*REF, Item(f"{number:064x}", Kind.BASE, 4, SIZE))


def counts(**given: int) -> dict[str, int]:
    return {**{kind.value: 0 for kind in Kind}, **given}


def sums(ledger: Ledger) -> dict[str, int]:
    return by_kind(ledger.totals())


class OverheadMachine(RuleBasedStateMachine):
    """Bytes cross, wait in buffers, reach the disk or are lost; the process dies at any moment."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.ledger = Ledger(self.path)
        self.crossed = self.durable = self.gone = 0
        self.buffered = self.file = self.written = 0
        self.ledger.expect(*REF, Item(BLOB, Kind.BASE, 4, SIZE))
        self.least = 0

    @rule(payload=st.integers(0, 1000), beside=st.integers(0, 50))
    def bytes_cross(self, payload: int, beside: int) -> None:
        self.crossed += payload + beside
        self.buffered += payload

    @rule(share=st.floats(0, 1), heard=st.booleans())
    def reach_the_disk(self, share: float, heard: bool) -> None:  # noqa: FBT001
        count = int(self.buffered * share)
        self.buffered -= count
        self.file += count
        if heard:
            self.ledger.observe(BLOB, self.file)
        else:
            self.die()

    @rule()
    def look(self) -> None:
        self.see(settled=False)

    def see(self, *, settled: bool) -> None:
        self.ledger.cross(self.crossed - self.gone, REF, settled=settled)

    @rule()
    def commit(self) -> None:
        self.look()
        self.ledger.commit()
        self.durable = self.crossed

    @rule()
    def stream_breaks(self) -> None:
        """What waited in buffers is nobody's; nothing is under way now."""
        self.buffered = 0
        for _ in range(2):
            self.see(settled=True)
        assert sum(sums(self.ledger).values()) == self.ledger.total_bytes() == self.crossed

    @rule()
    def a_change_fails(self) -> None:
        """SQLite undoes what was not committed; files are stated again."""
        self.ledger._db.rollback()
        self.ledger._counted_bytes = None
        self.ledger.observe(BLOB, self.file)
        self.least = 0

    @rule()
    def die(self) -> None:
        self.ledger._db.rollback()
        self.ledger._db.close()
        self.ledger = Ledger(self.path)
        self.ledger.observe(BLOB, self.file)
        for _ in range(2):
            self.ledger.cross(0, REF, settled=True)
        self.ledger.commit()
        total = sum(sums(self.ledger).values())
        assert self.durable <= total <= self.crossed
        # What is lost is lost: from here on the count is exact again.
        self.crossed = self.durable = self.gone = total
        self.buffered = self.least = 0

    @invariant()
    def nothing_is_made_up(self) -> None:
        if hasattr(self, "ledger"):
            counted = sums(self.ledger)
            assert counted["base"] == self.file
            assert counted["overhead"] == self.ledger.overhead_bytes()
            assert sum(counted.values()) <= self.crossed
            assert self.ledger.item_bytes() == self.file
            total = self.ledger.total_bytes()
            assert max(self.file, self.least) <= total <= self.crossed
            self.least = total

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()


TestOverhead = OverheadMachine.TestCase
TestOverhead.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


def test_overhead_belongs_to_the_version_at_hand_and_earlier_bytes_join_it(path: Path) -> None:
    ledger = Ledger(path)
    ledger.cross(100, settled=True)
    assert ledger.totals() == [Total("", 0, Kind.OVERHEAD, 0, 100, 0)]
    ledger.cross(120, REF, settled=True)
    ledger.cross(127, ("net", 2), settled=True)
    assert ledger.totals() == [
        Total("net", 2, Kind.OVERHEAD, 0, 7, 0),
        Total("net", 1, Kind.OVERHEAD, 0, 120, 0),
    ]
    ledger.close()


def test_overhead_alone_is_no_change(path: Path) -> None:
    ledger = Ledger(path)
    changes = ledger.changes
    ledger.cross(100, REF, settled=True)
    assert (ledger.changes, ledger.overhead_bytes(), ledger.item_bytes()) == (changes, 100, 0)
    ledger.close()


def test_a_socket_that_nobody_saw_takes_nothing_back(path: Path) -> None:
    ledger = Ledger(path)
    ledger.cross(50, REF, settled=True)
    ledger.expect(*REF, Item(BLOB, Kind.BASE, 4, SIZE))
    ledger.observe(BLOB, 1000)
    for crossed_bytes in (60, 60, 65):
        ledger.cross(crossed_bytes, REF, settled=True)
    assert sums(ledger) == counts(base=1000, overhead=55)
    ledger.close()


def test_deltas_stay_deltas_and_make_no_first_version(path: Path) -> None:
    ledger = Ledger(path)
    ledger.expect("net", 1, Item("a" * 64, Kind.BASE, 4, 5))
    ledger.expect("net", 2, Item("b" * 64, Kind.DELTA, 4, 5))
    ledger.expect("net", 2, Item("c" * 64, Kind.BASE, 4, 5))
    ledger.expect("other", 3, Item("d" * 64, Kind.DELTA, 8, 5))
    ledger.expect("other", 2, Item("e" * 64, Kind.SHARD, 8, 5))
    for letter in "abcde":
        ledger.observe(letter * 64, 5)
    assert set(ledger.totals()) == {
        Total("net", 1, Kind.BASE, 4, 5, 1),
        Total("net", 2, Kind.DELTA, 4, 5, 1),
        Total("net", 2, Kind.UPDATE, 4, 5, 1),
        Total("other", 3, Kind.DELTA, 8, 5, 1),
        Total("other", 2, Kind.SHARD, 8, 5, 1),
    }
    ledger.close()


def test_a_ledger_of_an_earlier_agent_keeps_its_counts(path: Path) -> None:
    old = sqlite3.connect(path)
    old.executescript(FIRST_SCHEMA)
    old.close()
    for _ in range(2):
        ledger = Ledger(path)
        assert ledger.ledger_id == "cafe"
        assert sums(ledger) == counts(base=10, retransmitted=3)
        assert ledger.reached() == {("net", 1): (4,)}
        ledger.cross(0, REF, settled=True)
        assert (ledger.overhead_bytes(), ledger.total_bytes()) == (0, 13)
        ledger.close()
    ledger = Ledger(path)
    ledger.cross(8, REF, settled=True)
    assert ledger.total_bytes() == 21
    ledger.close()


def test_what_a_failed_change_undoes_is_not_remembered(path: Path) -> None:
    ledger = Ledger(path)
    ledger.expect(*REF, Item(BLOB, Kind.BASE, 4, SIZE))
    ledger.observe(BLOB, 100)
    ledger._db.execute("PRAGMA max_page_count = 1")
    with pytest.raises(CapacityError):
        expect_a_lot(ledger)
    # What was observed went with the failed transaction; the next look at the file brings it back.
    assert ledger.item_bytes() == sums(ledger)["base"]
    ledger.observe(BLOB, 100)
    assert ledger.item_bytes() == sums(ledger)["base"] == 100
    ledger.close()
