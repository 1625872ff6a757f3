"""Readers of settings that are numbers. What they refuse is a ConfigError."""

from __future__ import annotations

import math
from typing import Final

from common.byte_sizes import format_bytes, parse_bytes
from common.errors import ConfigError

_MIB: Final = 1024 * 1024
_MOST_COUNTED: Final = 1024
_FEWEST_SWITCHES: Final = 4


def size(value: object) -> int:
    """Bytes, at least 0: a number, or a text such as "12 MiB"."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return parse_bytes(_text(value))


def request_memory(value: object) -> int:
    """Bytes, at least a MiB."""
    size_bytes = size(value)
    if size_bytes < _MIB:
        raise ConfigError(f"{format_bytes(size_bytes)} is too little.", advice="Take at least 1MiB.")
    return size_bytes


def count(value: object) -> int:
    """A count from 0 to 1024."""
    said = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)
    if not said.isascii() or not said.isdigit() or int(said[:5]) > _MOST_COUNTED:
        raise ConfigError(f"{said[:80]!r} is no count from 0 to {_MOST_COUNTED}.")
    return int(said)


def count_above_zero(value: object) -> int:
    """A count from 1 to 1024."""
    counted = count(value)
    if not counted:
        raise ConfigError("0 is too few.", advice="Take at least 1.")
    return counted


def switches(value: object) -> int:
    """An even count from 4 on."""
    counted = count(value)
    if counted < _FEWEST_SWITCHES or counted % 2:
        raise ConfigError(f"{counted} switches an hour are no even number from {_FEWEST_SWITCHES} on.")
    return counted


def seconds(value: object) -> float:
    """Seconds, from a tenth to a day."""
    return _within(value, 0.1, 86_400.0, " s")


def window_ms(value: object) -> float:
    """Milliseconds, from 0 to a second."""
    return _within(value, 0.0, 1000.0, " ms")


def percent(value: object) -> float:
    """Per cent, from 0 to 100."""
    return _within(value, 0.0, 100.0, " %")


def celsius(value: object) -> float:
    """Degrees, from 0 to 200."""
    return _within(value, 0.0, 200.0, " °C")


def part(value: object) -> float:
    """A part of a whole, from 0 to 1."""
    return _within(value, 0.0, 1.0, "")


def _within(value: object, low: float, high: float, unit: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float) else float(_text(value))
    except (ValueError, OverflowError) as error:
        raise ConfigError(f"{value!r:.80} is no number.") from error
    if math.isnan(number) or not low <= number <= high:
        raise ConfigError(f"{number:g}{unit} is not within {low:g} and {high:g}{unit}.")
    return number


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{value!r:.80} is no number.")
    return value
