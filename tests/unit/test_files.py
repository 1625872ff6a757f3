"""Files are whole or not there."""

from __future__ import annotations

from pathlib import Path

import pytest

from common.files import move_into_place, write_atomically


def test_content_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "state.json"
    write_atomically(target, b"one")
    write_atomically(target, b"two")
    assert target.read_bytes() == b"two"
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_write_leaves_the_old_content_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "x").write_bytes(b"")
    with pytest.raises(OSError, match="folder"):
        write_atomically(target, b"data")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder"]


def test_a_finished_file_gets_its_name(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_bytes(b"data")
    move_into_place(part, tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"data"
    assert not part.exists()
