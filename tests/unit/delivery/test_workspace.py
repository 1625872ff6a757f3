from __future__ import annotations

from pathlib import Path

import pytest

from common.errors import CapacityError
from server.delivery.workspace import Workspace


def test_a_folder_lasts_as_long_as_its_context(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path / "incoming", reserve_bytes=0)
    with workspace.folder(10) as folder:
        (folder / "part").write_bytes(b"x")
    assert not folder.exists()


def test_a_folder_goes_when_its_push_fails(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, reserve_bytes=0)
    with pytest.raises(RuntimeError, match="cut"), workspace.folder(10):
        raise RuntimeError("cut")
    assert list(tmp_path.iterdir()) == []


def test_too_little_room_says_how_much_there_is(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, reserve_bytes=0)
    with pytest.raises(CapacityError) as caught, workspace.folder(1 << 60):
        pass
    assert caught.value.needed_bytes == 1 << 60
    assert 0 < caught.value.available_bytes < 1 << 60
    assert list(tmp_path.iterdir()) == []


def test_the_sweep_takes_what_is_left_and_leaves_what_is_in_use(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, reserve_bytes=0)
    left = tmp_path / "push-left"
    left.mkdir()
    (left / "weights.safetensors").write_bytes(b"half")
    with workspace.folder(10) as folder:
        assert Workspace(tmp_path, reserve_bytes=0).sweep() == 1
        assert folder.exists()
    assert not left.exists()
