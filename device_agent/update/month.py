"""Bytes of the calendar month, UTC, whatever the clock does meanwhile. Pure.

A board's clock may be wrong by years, and jump when it is set. Each month that it shows has one budget:

- A month that was shown before goes on with its count, so that a clock that jumps to and fro resets nothing.
- A month that is reached by going forward begins at zero.
- A month that is reached by going back begins with the count so far: going back gives no new budget.

Twelve months are remembered. So a clock that was a year ahead for an hour has cost nothing a year later, and
no budget that is used up stays so for longer than until the clock shows the next month.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from device_agent.store.records import MonthCount, Traffic

MAX_MONTHS: Final = 12


def month_of(unix_ms: int) -> int:
    """The calendar month in UTC: months since the year 0."""
    moment = datetime.fromtimestamp(unix_ms / 1000, UTC)
    return moment.year * 12 + moment.month - 1


def next_month_unix_ms(unix_ms: int) -> int:
    """When the next calendar month begins, UTC."""
    year, month = divmod(month_of(unix_ms) + 1, 12)
    return int(datetime(year, month + 1, 1, tzinfo=UTC).timestamp()) * 1000


def begun(ledger_id: str, ledger_bytes: int, now_unix_ms: int) -> Traffic:
    """The count of a device that starts to count: zero, whatever the ledger holds from before."""
    return Traffic(ledger_id, ledger_bytes, (MonthCount(month_of(now_unix_ms), 0),))


def counted(traffic: Traffic, ledger_id: str, ledger_bytes: int, now_unix_ms: int) -> Traffic:
    """The count after a look at the ledger: what is new came before the month turned.

    Args:
        traffic: The count so far.
        ledger_id: Names the ledger; all of a new one counts.
        ledger_bytes: Its bytes of all kinds.
        now_unix_ms: By the device's clock.
    """
    seen_bytes = traffic.ledger_bytes if ledger_id == traffic.ledger_id else 0
    # Fewer than before: the ledger lost its end to a power cut, and what comes again is counted again.
    *others, last = traffic.months
    last = replace(last, count_bytes=last.count_bytes + max(0, ledger_bytes - seen_bytes))
    months = _turned((*others, last), month_of(now_unix_ms))
    return Traffic(ledger_id, ledger_bytes, months, traffic.chunk_bytes)


def _turned(months: tuple[MonthCount, ...], month: int) -> tuple[MonthCount, ...]:
    """The months, with the one that the clock shows at the end."""
    last = months[-1]
    if last.month == month:
        return months
    known = next((item for item in months if item.month == month), None)
    fresh = MonthCount(month, 0 if month > last.month else last.count_bytes)
    others = tuple(item for item in months if item.month != month)
    return (*others, known or fresh)[-MAX_MONTHS:]
