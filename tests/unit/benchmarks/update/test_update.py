"""The benchmark of updates: its rows add up, and a patch is one."""

from __future__ import annotations

import json
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import zstandard

from benchmarks.update.__main__ import main
from benchmarks.update.entropy import entropy_bits
from benchmarks.update.patch import patch_from
from benchmarks.update.row import Row


def test_a_quick_run_writes_a_row_that_adds_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "out" / "update.json"
    monkeypatch.setattr(sys, "argv", ["update", "--quick", "--fidelity", "--json", str(file)])
    assert main() == 0
    (row,) = json.loads(file.read_text())
    assert set(row) == {field.name for field in fields(Row)}
    assert 0 < row["entropy_bytes"] < row["delta_bytes"] < row["patch_from_bytes"]
    assert row["delta_bytes"] < row["changed_blobs_bytes"] <= row["full_bytes"]
    assert 0 < row["base_delta_bytes"] < row["delta_bytes"]
    assert "scales kept" in capsys.readouterr().out


def test_entropy_is_that_of_the_frequencies() -> None:
    assert entropy_bits(np.zeros(8, np.int16)) == 0
    assert entropy_bits(np.array([-255, 255] * 4, np.int16)) == 1
    assert entropy_bits(np.array([0, 0, 1, 2], np.int16)) == 1.5


def test_a_patch_is_small_and_gives_the_new_bytes() -> None:
    old = np.random.default_rng(0).bytes(200_000)
    new = old[:100_000] + b"changed" + old[100_000:]
    patch = patch_from(old, new)
    assert len(patch) < 200
    prefix = zstandard.ZstdCompressionDict(old, dict_type=zstandard.DICT_TYPE_RAWCONTENT)
    reader = zstandard.ZstdDecompressor(dict_data=prefix, max_window_size=1 << 27)
    assert reader.decompress(patch, max_output_size=len(new)) == new
