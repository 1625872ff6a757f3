"""Traces: what is written is read, and nothing else is."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.errors import CapacityError, InvalidInputError
from device_agent.replay import trace
from device_agent.replay.trace import MAX_LINE_BYTES, Look, header_line, read_trace, write_trace
from device_agent.sensors.readings import NAMES, Readings

SIZES = st.none() | st.integers(0, 1 << 60)
PERCENT = st.none() | st.floats(0, 100)
BOOLEANS = st.none() | st.booleans()
READINGS = st.builds(
    Readings,
    **{field.name: SIZES for field in fields(Readings) if field.name.endswith("_bytes")},
    pressure_some_percent=PERCENT,
    pressure_full_percent=PERCENT,
    cpu_celsius=st.none() | st.floats(-200, 999),
    battery_fraction=st.none() | st.floats(0, 1),
    throttled=BOOLEANS,
    on_mains=BOOLEANS,
    metered=BOOLEANS,
)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 10_000), READINGS), min_size=1, max_size=20))
def test_what_is_written_is_read(steps: list[tuple[int, Readings]]) -> None:
    looks, at_seconds = [], 0
    for step, readings in steps:
        at_seconds += step
        looks.append(Look(float(at_seconds), readings))
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sub" / "day.trace"
        assert write_trace(file, looks) == len(looks)
        assert read_trace(file) == looks


def written(folder: Path, *lines: str, end: str = "\n") -> Path:
    file = folder / "trace"
    file.write_text("\n".join([header_line(), *lines]) + end)
    return file


@pytest.mark.parametrize(
    "line",
    [
        "",
        "[]",
        "{}",
        '{"t": "1"}',
        '{"t": true}',
        '{"t": -1}',
        '{"t": NaN}',
        '{"t": 1e300}',
        '{"t": 3, "cpu_celcius": 40}',
        '{"t": 3, "memory_limit_bytes": 1.5}',
        '{"t": 3, "memory_limit_bytes": -1}',
        '{"t": 3, "memory_limit_bytes": 99999999999999999999}',
        '{"t": 3, "battery_fraction": 1.01}',
        '{"t": 3, "battery_fraction": Infinity}',
        '{"t": 3, "on_mains": 1}',
        '{"t": 3, "pressure_some_percent": true}',
        '{"t": 3, "throttled": null}',
        '{"t": 1}',
        '{"t": 3' + " " * MAX_LINE_BYTES + "}",
        "[" * 3000,
    ],
)
def test_a_line_that_is_no_look_is_named(line: str, tmp_path: Path) -> None:
    file = written(tmp_path, '{"t": 2}', line, '{"t": 9}')
    with pytest.raises(InvalidInputError, match=r"Line 3 of .* is no look"):
        read_trace(file)


def test_a_last_line_that_was_cut_off_is_left_out(tmp_path: Path) -> None:
    file = written(tmp_path, '{"t": 2}', '{"t": 3, "cpu_cel', end="")
    assert read_trace(file) == [Look(2.0, Readings())]


@pytest.mark.parametrize("content", ["", "{}\n", "nothing", '{"t": 1}\n', '{"format": "nestfleet-trace"}\n'])
def test_a_file_that_is_no_trace(content: str, tmp_path: Path) -> None:
    (tmp_path / "trace").write_text(content)
    with pytest.raises(InvalidInputError, match="is no trace of this release"):
        read_trace(tmp_path / "trace")


def test_no_file_a_folder_and_a_trace_of_nothing(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InvalidInputError, match="cannot be read"):
            read_trace(path)
    with pytest.raises(InvalidInputError, match="holds no looks"):
        read_trace(written(tmp_path))
    with pytest.raises(InvalidInputError, match="cannot be written"):
        write_trace(tmp_path, [])


def test_a_recording_ends_at_its_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "MAX_LINES", 3)
    with pytest.raises(CapacityError, match="full after 3 looks"):
        write_trace(tmp_path / "trace", (Look(float(second), Readings()) for second in range(9)))
    assert len(read_trace(tmp_path / "trace")) == 3


def test_every_reading_has_its_bounds() -> None:
    assert all(name in trace._BOOLEANS or trace._is_sound(name, 1) for name in NAMES)
