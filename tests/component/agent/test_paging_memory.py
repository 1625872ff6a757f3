"""Memory of a process that pages: how much at most, and how much of it comes back."""

from __future__ import annotations

import functools
import json
import subprocess
import sys
import tempfile
from typing import Any

import pytest

# Chunks of codes, a few hundred KiB, and what interpreter and allocator do; the same for blocks of any size.
_BESIDE_BYTES = 1280 * 1024
_DOWN = [(8, 4), (8, 6), (6, 4)]


@functools.cache
def measured(form: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.support.memory_child", form, folder]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize("form", ["packed", "bytes"])
def test_at_no_time_is_there_more_than_the_weights_and_one_block(form: str) -> None:
    rows = measured(form)["rows"]
    assert len(rows) == 6
    for row in rows:
        assert row["peak_bytes"] <= row["block_bytes"] + _BESIDE_BYTES, row
        assert row["block_bytes"] < 1.1e6


def test_what_is_paged_out_is_the_systems_again() -> None:
    down = [row for row in measured("packed")["rows"] if (row["from"], row["to"]) in _DOWN]
    assert len(down) == 3
    for row in down:
        assert row["held_grown_bytes"] < -2e6
        assert row["grown_bytes"] <= 0.8 * row["held_grown_bytes"], row


def test_what_a_request_still_reads_is_the_systems_when_it_ends() -> None:
    in_use = measured("packed")["in_use"]
    assert in_use["during"] > 0
    assert in_use["after"] < -4e6
