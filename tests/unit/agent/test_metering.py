"""From the meter into the ledger: when overhead is certain, when it is durable, whose it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from device_agent.store.ledger import Item, Kind, Ledger
from device_agent.store.records import AgentRecord, Failure, Goal, Installed, Release, Slot
from device_agent.store.store import Store
from device_agent.update.metering import Metering, worked_on

BLOB = "a" * 64
RELEASE = Release("net", 3, "b" * 64, 10)


@dataclass
class HandMeter:
    """``SocketMeter`` that counts what a test says; ``on_look`` is what happens meanwhile."""

    crossed: int = 0
    looks: int = 0
    on_look: Callable[[], object] = field(default=lambda: None)
    measured = True

    def crossed_bytes(self) -> int:
        self.looks += 1
        self.on_look()
        return self.crossed

    def published(self, size_bytes: int) -> None:
        self.crossed += size_bytes


@dataclass
class HandClock:
    """``Clock`` that a test turns."""

    now_seconds: float = 1000.0

    def unix_ms(self) -> int:
        return int(self.now_seconds * 1000)

    def monotonic_seconds(self) -> float:
        return self.now_seconds


class Bench:
    """A metering on a real store."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.open(folder, "board")
        self.meter, self.clock, self.rests = HandMeter(), HandClock(), True
        self.metering = Metering(self.meter, self.store, self.clock, at_rest=lambda: self.rests)

    def note(self, crossed: int = 0) -> None:
        self.meter.crossed += crossed
        self.metering.note()

    def receive(self, size_bytes: int) -> None:
        self.store.ledger.expect("net", 3, Item(BLOB, Kind.BASE, 4, 1 << 20))
        self.store.ledger.observe(BLOB, size_bytes)

    @property
    def ledger(self) -> Ledger:
        return self.store.ledger


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "store")
    yield bench
    bench.store.close()


def test_what_waits_in_buffers_during_a_transfer_is_no_overhead(bench: Bench) -> None:
    bench.rests = False
    bench.note(1000)
    bench.note()
    assert (bench.ledger.overhead_bytes(), bench.ledger.total_bytes()) == (0, 1000)
    bench.receive(950)
    bench.rests = True
    bench.note()
    bench.note()
    assert (bench.ledger.overhead_bytes(), bench.ledger.total_bytes()) == (50, 1000)


def test_a_transfer_that_begins_during_the_look_settles_nothing(bench: Bench) -> None:
    bench.note(10)
    bench.meter.on_look = lambda: setattr(bench, "rests", False)
    bench.note(1000)
    bench.meter.on_look = lambda: None
    bench.receive(1000)
    bench.rests = True
    bench.note()
    bench.note()
    assert bench.ledger.overhead_bytes() == 10


def test_payload_counted_just_now_settles_with_the_next_look(bench: Bench) -> None:
    bench.note(10)
    bench.meter.on_look = lambda: bench.receive(500)  # the disk has what this look does not see yet
    bench.note()
    bench.meter.on_look = lambda: None
    bench.note(507)
    bench.note()
    assert bench.ledger.overhead_bytes() == 17


@pytest.mark.parametrize(
    ("crossed", "seconds", "durable"), [(100, 29, 0), (100, 30, 100), (50_000, 2, 50_000)]
)
def test_overhead_is_durable_after_a_while(
    tmp_path: Path, bench: Bench, crossed: int, seconds: int, durable: int
) -> None:
    bench.note(crossed)
    bench.clock.now_seconds += seconds
    bench.note()
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in bench.folder.glob("ledger.sqlite*"):
        (copy / file.name).write_bytes(file.read_bytes())  # what a kill leaves
    ledger = Ledger(copy / "ledger.sqlite")
    assert ledger.total_bytes() == durable
    ledger.close()


def test_glances_take_a_small_share_of_the_time(bench: Bench) -> None:
    bench.metering.glance()
    for _ in range(100):
        bench.metering.glance()
    assert bench.meter.looks == 1
    bench.clock.now_seconds += 10
    bench.metering.glance()
    assert bench.meter.looks == 2


def test_a_report_is_told_to_the_meter(bench: Bench) -> None:
    bench.metering.published(70)
    bench.note()
    assert bench.ledger.overhead_bytes() == 70


def test_bytes_are_moved_for_the_goal_else_for_what_runs() -> None:
    record = AgentRecord("board", "key")
    assert worked_on(record) == ("", 0)
    active = AgentRecord("board", "key", slots=(Slot("net", active=Installed(RELEASE)),))
    assert worked_on(active) == ("net", 3)
    other = Release("speech", 1, "c" * 64, 10)
    slots = (Slot("net", active=Installed(RELEASE)), Slot("speech", goal=Goal(1, other)))
    assert worked_on(AgentRecord("board", "key", slots=slots)) == ("speech", 1)


def test_of_several_models_bytes_are_moved_for_the_first_that_is_not_where_it_shall_be() -> None:
    settled = Slot("net", Goal(2, RELEASE), Installed(RELEASE))
    update = Release("speech", 2, "d" * 64, 10)
    moving = Slot("speech", Goal(2, update), Installed(Release("speech", 1, "c" * 64, 10)))
    assert worked_on(AgentRecord("board", "key", slots=(settled, moving))) == ("speech", 2)
    failed = replace(moving, failure=Failure(2, update, "internal", ""))
    assert worked_on(AgentRecord("board", "key", slots=(settled, failed))) == ("net", 3)
