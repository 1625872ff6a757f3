"""The ledger against a plain model of what was received, with kills thrown in."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from common.errors import IntegrityError
from device_agent.store.ledger import Item, Kind, Ledger, Total, by_kind

SIZE = 100
DIGESTS = [f"{number:064x}" for number in range(4)]
digests = st.sampled_from(DIGESTS)


class LedgerMachine(RuleBasedStateMachine):
    """Files grow, vanish, and the process dies; what was received is what the model says."""

    @initialize()
    def start(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.sqlite"
        self.ledger = Ledger(self.path)
        self.identity = self.ledger.ledger_id
        self.files: Counter[str] = Counter()
        self.highest: Counter[str] = Counter()
        self.repeated: Counter[str] = Counter()
        self.wasted = 0
        for digest in DIGESTS:
            self.ledger.expect("net", 1, Item(digest, Kind.BASE, 4, SIZE))

    @rule(digest=digests, count=st.integers(1, SIZE), seen=st.booleans())
    def receive(self, digest: str, count: int, seen: bool) -> None:  # noqa: FBT001
        """A chunk comes to the file; the process may die before the ledger hears of it."""
        before = self.files[digest]
        after = min(SIZE, before + count)
        self.repeated[digest] += max(0, min(after, self.highest[digest]) - before)
        self.highest[digest] = max(self.highest[digest], after)
        self.files[digest] = after
        if seen:
            self.ledger.observe(digest, after)
        else:
            self.die()

    @rule(digest=digests)
    def remove(self, digest: str) -> None:
        self.files[digest] = 0
        self.ledger.observe(digest, 0)
        self.ledger.commit()

    @rule(digest=digests, count=st.integers(1, SIZE))
    def waste(self, digest: str, count: int) -> None:
        self.ledger.waste(digest, count)
        self.wasted += count

    @rule(digest=digests)
    def expect_again(self, digest: str) -> None:
        self.ledger.expect("net", 2, Item(digest, Kind.SHARD, 6, SIZE))

    @rule()
    def die(self) -> None:
        self.ledger._db.rollback()
        self.ledger._db.close()
        self.ledger = Ledger(self.path)
        for digest, size in self.files.items():
            self.ledger.observe(digest, size)
        self.ledger.commit()

    @invariant()
    def counts_are_right(self) -> None:
        if not hasattr(self, "ledger"):
            return
        sums = by_kind(self.ledger.totals())
        assert sums["base"] == self.highest.total()
        assert sums["retransmitted"] == self.repeated.total() + self.wasted
        assert sums["shard"] == sums["update"] == 0
        assert self.ledger.ledger_id == self.identity

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.folder.cleanup()


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)


def test_blobs_after_a_models_first_version_are_updates(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    ledger.expect("net", 2, Item("a" * 64, Kind.METADATA, 0, 5))
    ledger.expect("net", 3, Item("b" * 64, Kind.BASE, 4, 10))
    ledger.expect("net", 3, Item("c" * 64, Kind.SHARD, 6, 10))
    ledger.expect("net", 2, Item("d" * 64, Kind.BASE, 4, 10))
    ledger.expect("other", 1, Item("e" * 64, Kind.SHARD, 8, 10))
    ledger.expect("net", 3, Item("f" * 64, Kind.SHARD, 8, 10))
    for letter in "abcdef":
        ledger.observe(letter * 64, 5)
    ledger.observe("c" * 64, 10)
    assert set(ledger.totals()) == {
        Total("net", 2, Kind.METADATA, 0, 5, 1),
        Total("net", 3, Kind.BASE, 4, 5, 0),
        Total("net", 3, Kind.SHARD, 6, 10, 1),
        Total("net", 2, Kind.UPDATE, 4, 5, 0),
        Total("other", 1, Kind.SHARD, 8, 5, 0),
        Total("net", 3, Kind.SHARD, 8, 5, 0),
    }
    ledger.close()


def test_levels_reached_are_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.sqlite")
    changes = ledger.changes
    for level in (8, 4, 4):
        ledger.reach("net", 1, level)
    assert ledger.reached() == {("net", 1): (4, 8)}
    assert ledger.changes == changes + 2
    ledger.close()


def test_a_file_that_is_no_database_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite"
    path.write_bytes(b"x" * 5000)
    with pytest.raises(IntegrityError):
        Ledger(path)
