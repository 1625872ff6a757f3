from __future__ import annotations

import os
from pathlib import Path

import pytest

from server.quantize.workers.cores import usable_cores


@pytest.mark.parametrize("quota", ["max 100000\n", "", "nonsense", "0 0", "100000000000 100000"])
def test_without_a_quota_that_is_less_it_is_the_cores_of_the_process(tmp_path: Path, quota: str) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert usable_cores(file) == usable_cores(tmp_path / "missing") == len(os.sched_getaffinity(0))


@pytest.mark.parametrize("quota", ["100000 100000", "1000 100000", "99999 100000"])
def test_a_container_s_quota_bounds_it_and_one_is_left(tmp_path: Path, quota: str) -> None:
    file = tmp_path / "cpu.max"
    file.write_text(quota)
    assert usable_cores(file) == 1
