"""The benchmark of delivery does what it says, on little of everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from benchmarks.delivery.row import Row
from benchmarks.delivery.table import tables

ROOT = Path(__file__).parents[3]


def measured(folder: Path, scenario: str) -> list[Row]:
    file = folder / "rows.json"
    command = ["benchmarks.delivery", "--quick", "--scenarios", scenario, "--json", str(file)]
    subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        check=True,
        capture_output=True,
        timeout=120,
    )
    return [Row(**tree) for tree in json.loads(file.read_bytes())]


def test_streams(tmp_path: Path) -> None:
    rows = measured(tmp_path, "stream")
    assert [row.devices for row in rows] == [1, 3]
    for row in rows:
        assert row.mb_per_s
        assert row.bare_grpc_mb_per_s
        assert row.slowest_over_median is not None
        assert row.slowest_over_median >= 1


@pytest.mark.parametrize("scenario", ["limited_link", "cuts"])
def test_an_agent_behind_a_link(tmp_path: Path, scenario: str) -> None:
    (row,) = measured(tmp_path, scenario)
    if scenario == "cuts":
        assert row.cuts == 3
        assert row.bytes_needed is not None
        assert row.bytes_sent is not None
        assert row.bytes_needed < row.bytes_sent < 2 * row.bytes_needed
        assert row.fetched_twice_bytes == 0
    else:
        assert row.ideal_seconds is not None
        assert row.first_inference_seconds is not None
        assert 0 < row.ideal_seconds < row.first_inference_seconds


def test_the_report_shows_every_scenario_and_leaves_out_what_is_not_there() -> None:
    rows = [Row("stream", devices=1), Row("cuts", cuts=1), Row("limited_link")]
    assert len(tables(rows)) == 3
    assert tables([]) == []
    assert {field.name for field in fields(Row)} >= {"nginx_mb_per_s", "bytes_sent", "ideal_seconds"}
