"""The benchmark of switching does what it says, on a net that takes no time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.quantize.tasks.task import Task
from benchmarks.switch.run import measure
from benchmarks.switch.scale import quick
from server.export import export_model
from tests.support.models import tiny_net


@pytest.mark.parametrize("packed", [False, True])
def test_each_pair_of_levels_has_a_row_each_way(tmp_path: Path, *, packed: bool) -> None:
    model, inputs = tiny_net(width=16)
    task = Task("tiny", export_model(model, inputs), inputs)
    scale = replace(quick(packed=packed), requests={"tiny": 40})
    said: list[str] = []
    rows = list(measure(task, tmp_path, scale, said.append))

    pairs = [(4, 6), (6, 4), (4, 8), (8, 4), (6, 8), (8, 6)]
    assert [(row.from_level, row.to_level) for row in rows] == pairs
    assert said
    for row in rows:
        assert bool(row.bytes_read) == (row.to_level > row.from_level)
        assert row.bytes_read < row.separate_bytes_read
        assert (row.requests, row.failed_requests, row.mixed_requests) == (40, 0, 0)
        assert row.switches > 0
        assert row.seconds > 0
        assert row.p99_ms_quiet > 0
