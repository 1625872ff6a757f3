"""The benchmark of inference does what it says, on little of everything."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.inference.accuracy.score import Score
from benchmarks.inference.files.layout import Files
from benchmarks.inference.processes.messages import Job
from benchmarks.inference.processes.worker import Worker
from benchmarks.inference.row import NESTFLEET, ORT_INT8, Row

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_a_quick_run_writes_a_row_for_each_runtime_and_batch(tmp_path: Path) -> None:
    rows_file, scores_file = tmp_path / "out" / "rows.json", tmp_path / "out" / "scores.json"
    options = ["--quick", "--json", str(rows_file), "--accuracy-json", str(scores_file)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.inference", *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [Row(**tree) for tree in json.loads(rows_file.read_bytes())]
    runtimes = ["nestfleet@4", "nestfleet@6", "nestfleet@8", "torch_fp32", "ort_fp32", "ort_int8"]
    assert [(row.batch, row.label) for row in rows] == [
        (batch, name) for batch in (1, 8) for name in runtimes
    ]
    for row in rows:
        assert row.model == "small"
        assert row.threads == 1
        assert 0 < row.p50_ms <= row.p95_ms
        assert row.first_inference_seconds > 0
    assert all(row.rss_mib > 0 for row in rows if row.runtime != NESTFLEET)
    scores = [Score(**tree) for tree in json.loads(scores_file.read_bytes())]
    assert [score.level for score in scores] == [4, 6, 8]
    assert scores[0].float_arithmetic < scores[2].float_arithmetic <= scores[2].unquantized
    assert all(abs(score.difference_points) < 1 for score in scores)
    for what in ("small", "ort_int8", "integer beside float arithmetic", "12 rows"):
        assert what in done.stdout


def test_a_process_that_cannot_load_says_which_one_it_was(tmp_path: Path) -> None:
    job = Job(ORT_INT8, None, 1, Files(tmp_path, tmp_path, tmp_path))
    with pytest.raises(RuntimeError, match="ort_int8 ended by itself"):
        Worker(job)
