"""Traces: readings of a board with their times, a line of JSON each. Bounded, whoever wrote them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from common.errors import CapacityError, InvalidInputError
from device_agent.sensors.readings import NAMES, Readings

MAX_LINES: Final = 1_000_000
MAX_LINE_BYTES: Final = 4096
MAX_FILE_BYTES: Final = 256 * 1024 * 1024
_HEADER: Final = {"format": "nestfleet-trace", "version": 1}
_YEAR_SECONDS: Final = 366 * 86_400.0
_BOOLEANS: Final = frozenset({"throttled", "on_mains", "metered"})
_HIGHEST: Final = {
    "pressure_some_percent": 100.0,
    "pressure_full_percent": 100.0,
    "cpu_celsius": 1000.0,
    "battery_fraction": 1.0,
}
_LOWEST: Final = {"cpu_celsius": -273.15}
_MAX_BYTES: Final = 1 << 60


@dataclass(frozen=True, slots=True)
class Look:
    """One line of a trace.

    Attributes:
        at_seconds: Since the trace's beginning; never less than in the line before.
        readings: What the sensors said.
    """

    at_seconds: float
    readings: Readings


def header_line() -> str:
    """The first line of every trace."""
    return json.dumps(_HEADER)


def line_of(look: Look) -> str:
    """A look as a line; sensors that are absent are left out."""
    return json.dumps({"t": round(look.at_seconds, 3), **look.readings.present()})


def write_trace(path: Path, looks: Iterable[Look]) -> int:
    """The trace is in the file; how many looks it has.

    Raises:
        InvalidInputError: The file cannot be written.
        CapacityError: The trace is longer than a file of its kind may be; what came before is in it.
    """
    count = size_bytes = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="ascii") as file:
            file.write(f"{header_line()}\n")
            for look in looks:
                line = f"{line_of(look)}\n"
                size_bytes += len(line)
                if count == MAX_LINES or size_bytes > MAX_FILE_BYTES:
                    raise CapacityError(
                        f"{path} is full after {count} looks.", advice="Record for less long, or less often."
                    )
                file.write(line)
                file.flush()
                count += 1
    except OSError as error:
        raise InvalidInputError(
            f"The trace cannot be written to {path}: {error.strerror}.", advice="Name another file."
        ) from error
    return count


def read_trace(path: Path) -> list[Look]:
    """The looks of a trace, in order; at least one.

    A last line that was cut off, as where the recording was killed, is left out.

    Raises:
        InvalidInputError: The file is none, or breaks the bounds; names the line.
    """
    try:
        with path.open("rb") as file:
            looks = list(_looks(path, iter(lambda: file.readline(MAX_LINE_BYTES + 1), b"")))
    except OSError as error:
        raise InvalidInputError(f"The trace {path} cannot be read: {error.strerror}.") from error
    if not looks:
        raise InvalidInputError(f"The trace {path} holds no looks.", advice="Record for longer.")
    return looks


def _looks(path: Path, lines: Iterator[bytes]) -> Iterator[Look]:
    before_seconds = 0.0
    if _tree(next(lines, b"")) != _HEADER:
        raise InvalidInputError(
            f"{path} is no trace of this release: its first line is not {header_line()}.",
            advice="Record one with `nestfleet-agent trace`.",
        )
    for number, line in enumerate(lines, start=2):
        if not line.endswith(b"\n") and len(line) <= MAX_LINE_BYTES:
            return
        look = _look(line)
        if look is None or look.at_seconds < before_seconds or number > MAX_LINES + 1:
            raise InvalidInputError(
                f"Line {number} of {path} is no look of a trace: {line[:80]!r}.",
                advice=f'A look is {{"t": SECONDS, …}}, times ascend, and there are at most {MAX_LINES}.',
            )
        before_seconds = look.at_seconds
        yield look


def _tree(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _look(line: bytes) -> Look | None:
    """None for what is no look, or one with values that no sensor has."""
    tree = _tree(line)
    if not isinstance(tree, dict) or not set(tree) - {"t"} <= set(NAMES):
        return None
    at_seconds = tree.pop("t", None)
    if not _is_number(at_seconds, 0.0, _YEAR_SECONDS) or not all(map(_is_sound, tree, tree.values())):
        return None
    return Look(float(at_seconds), Readings(**tree))


def _is_sound(name: str, value: object) -> bool:
    if name in _BOOLEANS:
        return isinstance(value, bool)
    if name.endswith("_bytes"):
        return isinstance(value, int) and _is_number(value, 0, _MAX_BYTES)
    return _is_number(value, _LOWEST.get(name, 0.0), _HIGHEST[name])


def _is_number(value: object, low: float, high: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return math.isfinite(value) and low <= value <= high
