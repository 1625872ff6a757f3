"""A kill, or an error of the disk, between any two steps of an update by deltas.

A sample of the points here; with stride 1 the program tries them all.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.crash_points import CHILD_SECONDS

ROOT = Path(__file__).parents[3]
MEMORY_FOLDER = Path("/dev/shm")  # noqa: S108  # a kill loses nothing that a disk would keep


@pytest.mark.parametrize(("how", "stride"), [("kill", 17), ("error", 11)])
def test_at_any_point_nothing_comes_twice_and_nothing_that_a_delta_saves(how: str, stride: int) -> None:
    parent = MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else None
    offset = sum(os.urandom(2))
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.delta_crash_points", folder, how, str(stride), str(offset)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS * 3,  # a child that hangs ends sooner, and says where
            check=False,
        )
    assert done.returncode == 0, f"stride {stride}, offset {offset}: {done.stderr[-2000:]}"
    points, tried = map(int, done.stdout.split())
    assert tried >= points // stride > 5
