"""Times, levels and shares in words, for tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from nestfleet.v1 import catalog_pb2

_MINUTE_SECONDS: Final = 60
_HOUR_SECONDS: Final = 60 * _MINUTE_SECONDS
_DAY_SECONDS: Final = 24 * _HOUR_SECONDS


def version_name(ref: catalog_pb2.VersionRef) -> str:
    """``NAME:VERSION`` as the commands take it; "-" for none."""
    return f"{ref.model}:{ref.version}" if ref.model else "-"


def level_list(levels: Sequence[int]) -> str:
    """Levels as --levels takes them."""
    return ",".join(str(level) for level in levels)


def utc_time(unix_ms: int) -> str:
    """To the minute, UTC; "-" for 0."""
    if not unix_ms:
        return "-"
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M")


def age(unix_ms: int, now_ms: int) -> str:
    """How long ago, in the largest fitting unit; "-" for 0."""
    if not unix_ms:
        return "-"
    seconds = max(now_ms - unix_ms, 0) // 1000
    if seconds < _MINUTE_SECONDS:
        return f"{seconds} s"
    if seconds < _HOUR_SECONDS:
        return f"{seconds // _MINUTE_SECONDS} min"
    if seconds < _DAY_SECONDS:
        return f"{seconds // _HOUR_SECONDS} h"
    return f"{seconds // _DAY_SECONDS} d"


def percent(part: int, whole: int) -> str:
    """A share, to two digits where it is below one percent; "-" of nothing."""
    if not whole:
        return "-"
    share = 100 * part / whole
    return f"{share:.2g}%" if 0 < share < 1 else f"{share:.0f}%"


def difference(part: int, whole: int) -> str:
    """How far ``part`` is below or above ``whole``: "-73%", "+2%"; "" of nothing."""
    return f"{100 * (part - whole) / whole:+.0f}%" if whole else ""


def count(number: int, singular: str) -> str:
    """A number with its noun: "1 block", "1,200 blocks"."""
    return f"{number:,} {singular}" if number == 1 else f"{number:,} {singular}s"
