"""What the benchmark of switching counts, on values that are known."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from rich.console import Console

from benchmarks.switch.load import Request, p99_ms
from benchmarks.switch.row import Row
from benchmarks.switch.switching import Switch, states_between
from benchmarks.switch.table import tables
from tests.support.blocks import small_version

ROW = Row(
    model="net",
    from_level=6,
    to_level=8,
    bytes_read=200,
    seconds=0.01,
    ms_per_mweight=1.0,
    p99_ms_during=12.0,
    p99_ms_quiet=10.0,
    separate_bytes_read=750,
    separate_packed_bytes=800,
    separate_seconds=0.03,
    failed_requests=0,
    mixed_requests=0,
    requests=100,
    requests_during=50,
    switches=10,
    weights=800,
)


@pytest.mark.parametrize(
    ("due", "done", "beside"),
    [
        (0.0, 1.0, False),
        (0.0, 1.5, True),
        (1.5, 1.6, True),
        (0.0, 9.0, True),
        (1.9, 3.0, True),
        (2.0, 3.0, False),
    ],
)
def test_a_change_runs_beside_requests_that_it_overlaps(due: float, done: float, *, beside: bool) -> None:
    assert Switch(8, 1.0, 2.0).beside(Request(due, done, "answer")) == beside


def test_latency_counts_from_when_a_request_was_due() -> None:
    requests = [Request(float(index), index + 0.001 * (index + 1), "answer") for index in range(101)]
    assert p99_ms(requests) == pytest.approx(100)
    assert math.isnan(p99_ms([]))


def test_states_are_those_of_either_direction_and_each_comes_once() -> None:
    manifest = small_version().manifest
    assert states_between(manifest, 4, 8) == [
        (4, 4, 4, 4),
        (8, 4, 4, 4),
        (8, 8, 4, 4),
        (8, 8, 8, 4),
        (4, 8, 8, 4),
        (4, 4, 8, 4),
    ]


def test_there_and_back_is_counted_as_the_paper_does() -> None:
    down = replace(
        ROW, from_level=8, to_level=6, bytes_read=0, separate_bytes_read=500, separate_packed_bytes=600
    )
    console = Console(width=200, record=True)
    for table in tables([ROW, down]):
        console.print(table)
    text = console.export_text()
    assert "8⊃6" in text
    assert "84.0%" in text
    assert "85.7%" in text
    assert "1.20" in text
