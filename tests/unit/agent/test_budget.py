from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from device_agent.residency.board_limits import BoardLimits, Rules
from device_agent.residency.policy.hysteresis import Pace
from device_agent.residency.policy.rules import Thresholds
from device_agent.sensors.guarded import Sensors
from device_agent.sensors.readings import Readings
from device_agent.update.allowance import EVERYTHING, Limit
from device_agent.update.budget import Budget


class Fixture:
    """A board whose sensors say what a test wants, a second after each look."""

    def __init__(self, file: Path | None, fixed_bytes: int = 0) -> None:
        self.changes = 0
        self.seconds = 0.0
        self.readings = Readings(memory_limit_bytes=1000)
        self.budget = Budget(
            fixed_bytes=fixed_bytes,
            board=BoardLimits(Sensors([self]), self, Rules(Thresholds(reserve_bytes=0), Pace()), list),
            file=file,
            on_change=self.changed,
        )

    def changed(self) -> None:
        self.changes += 1

    def read(self) -> Readings:
        return self.readings

    def unix_ms(self) -> int:
        return 0

    def monotonic_seconds(self) -> float:
        return self.seconds

    def look(self, seconds: float = 1.0) -> None:
        """The budget after so long, with sensors as they are now."""
        self.seconds += seconds
        self.budget._readings = self.read()
        self.budget._look()


def test_the_operator_then_the_file_then_the_setting_then_the_board(tmp_path: Path) -> None:
    file = tmp_path / "budget"
    assert Fixture(None).budget.bytes == 1000
    assert Fixture(None, 700).budget.bytes == 700
    file.write_text("2 KiB\n")
    fixture = Fixture(file, 700)
    assert fixture.budget.bytes == 2048
    fixture.budget.limit(10)
    assert fixture.budget.bytes == 10
    fixture.budget.limit(0)
    assert fixture.budget.bytes == 2048


def test_a_file_counts_as_soon_as_it_changes_and_no_more_when_it_goes(tmp_path: Path) -> None:
    file = tmp_path / "budget"
    fixture = Fixture(file, 700)
    file.write_text("512")
    fixture.budget._look()
    assert fixture.budget.bytes == 512
    changes = fixture.changes
    fixture.budget._look()
    assert fixture.changes == changes
    file.unlink()
    fixture.budget._look()
    assert fixture.budget.bytes == 700


def test_nonsense_in_the_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "budget"
    file.write_text("512")
    fixture = Fixture(file, 700)
    for nonsense in (b"lots", b"12 MB", b"\xff\xfe", b"9" * 1000):
        file.write_bytes(nonsense)
        fixture.budget.read_again()
        assert fixture.budget.bytes == 512
    file.write_text("")
    fixture.budget.read_again()
    assert fixture.budget.bytes == 700


def test_a_signal_reads_a_file_that_looks_unchanged(tmp_path: Path) -> None:
    file = tmp_path / "budget"
    file.write_text("512")
    fixture = Fixture(file)
    stamp = file.stat()
    file.write_text("256")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    fixture.budget._look()
    assert fixture.budget.bytes == 512
    fixture.budget.read_again()
    assert fixture.budget.bytes == 256


def test_a_board_that_gets_less_memory_is_followed_at_once_and_one_that_gets_more_after_a_while() -> None:
    fixture = Fixture(None)
    fixture.readings = Readings(memory_limit_bytes=300)
    fixture.look()
    assert fixture.budget.bytes == 300
    fixture.readings = Readings(memory_limit_bytes=1000)
    fixture.look()
    assert fixture.budget.bytes == 300
    fixture.look(30)
    assert fixture.budget.bytes == 1000
    assert fixture.changes == 3


def test_a_battery_holds_back_whoever_says_how_much_memory_there_is() -> None:
    fixture = Fixture(None, 700)
    assert (fixture.budget.cap(0), fixture.budget.cap(6)) == (0, 6)
    assert fixture.budget.narrow(EVERYTHING) == EVERYTHING
    fixture.readings = replace(fixture.readings, battery_fraction=0.05, on_mains=False)
    fixture.look()
    assert fixture.changes == 2
    assert fixture.budget.bytes == 700
    assert (fixture.budget.cap(0), fixture.budget.cap(6)) == (1, 1)
    hold = fixture.budget.narrow(EVERYTHING).shard_hold
    assert hold is not None
    assert (hold.limit, hold.detail) == (Limit.BOARD, "Only bases may come: the battery is at 5%: base.")
    tree = fixture.budget.tree()
    assert tree["base_only"]
    assert not tree["shards_may_come"]
    assert tree["readings"]["battery_fraction"] == 0.05
    fixture.readings = replace(fixture.readings, on_mains=True)
    fixture.look()
    assert "base, until lifts have been allowed for a while" in fixture.budget.tree()["why"]
    fixture.look(30)
    assert fixture.budget.narrow(EVERYTHING) == EVERYTHING
    assert fixture.budget.cap(6) == 6


def test_noise_of_memory_that_does_not_count_holds_nothing_back() -> None:
    fixture = Fixture(None, 700)
    for size_bytes in range(1000, 0, -50):
        fixture.readings = Readings(memory_limit_bytes=size_bytes)
        fixture.look()
    assert fixture.budget.cap(0) == 0
    assert fixture.changes == 1


def test_a_board_decides_anew_once_nobody_else_does() -> None:
    fixture = Fixture(None)
    fixture.budget.limit(5000)
    fixture.readings = Readings(memory_limit_bytes=2000)
    fixture.look()
    assert fixture.budget.bytes == 5000
    fixture.budget.limit(0)
    assert fixture.budget.bytes == 2000
