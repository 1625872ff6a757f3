from __future__ import annotations

import os
from pathlib import Path

import pytest

from device_agent.update.metered import Metered, MeteredLink


def test_a_setting_holds_whatever_the_file_says(tmp_path: Path) -> None:
    file = tmp_path / "metered"
    file.write_text("yes")
    assert MeteredLink(Metered.YES, None).look()
    assert not MeteredLink(Metered.NO, file).look()
    assert not MeteredLink(Metered.AUTO, None).look()


def test_a_file_is_followed_and_none_says_no(tmp_path: Path) -> None:
    file = tmp_path / "metered"
    link = MeteredLink(Metered.AUTO, file)
    assert not link.look()
    file.write_text("Yes\n")
    assert link.look()
    file.write_text("no")
    assert not link.look()
    file.write_text("yes")
    assert link.look()
    file.unlink()
    assert not link.look()


@pytest.mark.parametrize("nonsense", ["", "maybe", "yes no", "1"])
def test_nonsense_changes_nothing_and_costs_nothing_at_first(tmp_path: Path, nonsense: str) -> None:
    file = tmp_path / "metered"
    file.write_text(nonsense)
    link = MeteredLink(Metered.AUTO, file)
    assert link.look(), "until somebody says no"
    file.write_text("no")
    assert not link.look()
    file.write_text(nonsense)
    assert not link.look()


def test_a_file_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "metered"
    file.mkdir()
    assert MeteredLink(Metered.AUTO, file).look()


def test_a_file_that_looks_unchanged_is_read_when_asked(tmp_path: Path) -> None:
    file = tmp_path / "metered"
    file.write_text("yes")
    link = MeteredLink(Metered.AUTO, file)
    assert link.look()
    stamp = file.stat()
    file.write_text("no ")
    os.utime(file, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    assert link.look()
    link.read_again()
    assert not link.look()
