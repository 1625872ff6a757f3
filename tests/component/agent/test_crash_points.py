"""A kill, or an error of the disk, between any two steps.

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


@pytest.mark.parametrize(("how", "stride"), [("kill", 7), ("error", 3)])
def test_at_any_point_nothing_is_lost_and_every_byte_is_counted(how: str, stride: int) -> None:
    parent = MEMORY_FOLDER if os.access(MEMORY_FOLDER, os.W_OK) else None
    offset = sum(os.urandom(2))
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        done = subprocess.run(
            [sys.executable, "-m", "tests.support.crash_points", folder, how, str(stride), str(offset)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"},
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS * 3,  # a child that hangs ends sooner, and says where
            check=False,
        )
    assert done.returncode == 0, f"stride {stride}, offset {offset}: {done.stderr[-2000:]}"
    points, tried = map(int, done.stdout.split())
    assert tried >= points // stride - 1 > 10
