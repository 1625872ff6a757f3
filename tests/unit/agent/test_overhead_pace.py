"""Reports of overhead alone: soon, then rarely, never for nothing."""

from __future__ import annotations

from device_agent.update.overhead_pace import OverheadPace


def reports_within(seconds: int, *, growth_bytes: int) -> list[int]:
    """When overhead was reported that grows every second, after a report of payload at 0."""
    pace, told, overhead_bytes = OverheadPace(), [], 0
    pace.reported(0, 0.0, alone=False)
    for now_seconds in range(1, seconds):
        overhead_bytes += growth_bytes
        if pace.look(now_seconds) and pace.is_news(overhead_bytes):
            pace.reported(overhead_bytes, now_seconds, alone=True)
            told.append(now_seconds)
    return told


def test_waits_double_up_to_an_hour() -> None:
    told = reports_within(24 * 3600, growth_bytes=1)
    assert told[:5] == [2, 6, 14, 30, 62]
    assert told[-1] - told[-2] == 3600
    assert len(told) < 40


def test_without_news_nothing_is_reported() -> None:
    assert reports_within(10_000, growth_bytes=0) == []


def test_payload_starts_the_waits_anew() -> None:
    pace = OverheadPace()
    for now_seconds in (100.0, 200.0, 300.0):
        pace.reported(1, now_seconds, alone=True)
    assert pace.left_seconds(300.0) == 16
    pace.reported(1, 300.0, alone=False)
    assert pace.left_seconds(300.0) == 2
    assert pace.left_seconds(400.0) == 0
