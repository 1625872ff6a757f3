"""Hours of the day without bulk transfers, as people write them: "22:00-06:00", UTC. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from common.errors import ConfigError

# An operator's word for "none", where a device has quiet hours of its own.
NO_QUIET_HOURS: Final = "00:00-00:00"
_TIME: Final = r"([01][0-9]|2[0-3]):([0-5][0-9])"
_WINDOW: Final = re.compile(f"{_TIME}-{_TIME}")
_MINUTE_MS: Final = 60_000
_DAY_MINUTES: Final = 24 * 60
_DAY_MS: Final = _DAY_MINUTES * _MINUTE_MS


@dataclass(frozen=True, slots=True)
class QuietHours:
    """From one minute of the day up to, and without, another; the end may lie on the next day.

    Attributes:
        begin_minute, end_minute: In [0, 1440), UTC; equal ones stand for no quiet hours at all.
    """

    begin_minute: int
    end_minute: int

    def contains(self, unix_ms: int) -> bool:
        """Whether it is quiet then."""
        length_ms = (self.end_minute - self.begin_minute) % _DAY_MINUTES * _MINUTE_MS
        return (unix_ms - self.begin_minute * _MINUTE_MS) % _DAY_MS < length_ms

    def end_after(self, unix_ms: int) -> int:
        """The first end after a moment, in milliseconds since 1970-01-01 UTC."""
        return unix_ms + _DAY_MS - (unix_ms - self.end_minute * _MINUTE_MS) % _DAY_MS

    def __str__(self) -> str:
        """As ``parse_quiet_hours`` takes it."""
        return f"{_clock(self.begin_minute)}-{_clock(self.end_minute)}"


def parse_quiet_hours(text: str) -> QuietHours:
    """The hours that a text stands for; "00:00-00:00" stands for none.

    Raises:
        ConfigError: It is no "HH:MM-HH:MM", or says nothing.
    """
    match = _WINDOW.fullmatch(text)
    advice = "Write HH:MM-HH:MM in UTC, e.g. 22:00-06:00; it may span midnight."
    if match is None:
        raise ConfigError(f"{text[:40]!r} are no quiet hours.", advice=advice)
    begin_hour, begin_minute, end_hour, end_minute = map(int, match.groups())
    hours = QuietHours(begin_hour * 60 + begin_minute, end_hour * 60 + end_minute)
    if hours.begin_minute == hours.end_minute and text != NO_QUIET_HOURS:
        raise ConfigError(
            f"Quiet hours {text} may mean all day or never.", advice=f"{NO_QUIET_HOURS} means never. {advice}"
        )
    return hours


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"
