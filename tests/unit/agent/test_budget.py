from __future__ import annotations

import os
from pathlib import Path

from device_agent.update.budget import Budget


class Fixture:
    def __init__(self, file: Path | None, fixed_bytes: int = 0) -> None:
        self.changes = 0
        self.board_bytes = 1000
        self.budget = Budget(
            fixed_bytes=fixed_bytes,
            board_bytes=lambda: self.board_bytes,
            file=file,
            on_change=self.changed,
        )

    def changed(self) -> None:
        self.changes += 1


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


def test_a_board_that_gets_less_memory_is_followed() -> None:
    fixture = Fixture(None)
    fixture.board_bytes = 300
    fixture.budget._look()
    assert fixture.budget.bytes == 300
