"""What is kept is made once, and gives way to what is made from something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.inference.files.kept import digest_of, kept

FIRST, SECOND = "0" * 12, "f" * 12


def test_a_folder_is_made_once_and_older_ones_of_its_name_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made: list[str] = []

    def make(folder: Path) -> None:
        made.append(folder.name)
        (folder / "file").write_text(str(len(made)))

    first, other = kept("onnx", "net", FIRST, make), kept("onnx", "net-b", FIRST, make)
    assert kept("onnx", "net", FIRST, make) == first
    assert len(made) == 2
    second = kept("onnx", "net", SECOND, make)
    assert (second / "file").read_text() == "3"
    assert not first.exists()
    assert other.exists()
    assert sorted(second.parent.iterdir()) == sorted([second, other])


def test_what_fails_to_be_made_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def fail(folder: Path) -> None:
        (folder / "half").touch()
        raise OSError("full")

    with pytest.raises(OSError, match="full"):
        kept("onnx", "net", FIRST, fail)
    assert list(tmp_path.glob("build/bench/cache/*")) == []


def test_a_digest_names_sources_and_libraries() -> None:
    code = digest_of(["benchmarks/inference/files"], [])
    assert digest_of(["benchmarks/inference/files"], []) == code
    assert len({code, digest_of(["benchmarks/inference/nets"], []), digest_of([], ["torch"])}) == 3
    assert digest_of(["benchmarks/inference/files"], ["torch"]) != code
