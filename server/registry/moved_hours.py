"""Bytes over time in the tables: what each report added, by the hour in which it came.

Devices report cumulative counts and their clocks may be wrong, so the server's clock says when. What a device
moved while it could not report counts in the hour in which it is back.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import case, func, inspect, select, update
from sqlalchemy.orm import Session

from server.registry.records import HourRecord
from server.registry.tables import HourRow

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
# Older hours are kept by the day.
KEPT_HOURS_MS: Final = 366 * DAY_MS
_MOST_BYTES: Final = 1 << 53


def add(session: Session, added: Mapping[tuple[str, str], int], now_ms: int) -> None:
    """The bytes, by model and kind, are in the present hour."""
    hour_ms = now_ms - now_ms % HOUR_MS
    fresh = False
    # In one order, so that two reports at once do not wait for each other.
    for (model, kind), size_bytes in sorted(added.items()):
        if size_bytes > 0:
            fresh |= _add(session, (hour_ms, model, kind), min(size_bytes, _MOST_BYTES))
    if fresh:
        _merge_old(session, now_ms)


def moved_hours(session: Session, model: str) -> list[HourRecord]:
    """Bytes by hour and kind, oldest first; over all models, or of one."""
    total = func.sum(HourRow.moved_bytes)
    query = select(HourRow.hour_unix_ms, HourRow.kind, total)
    query = query.where(HourRow.model == model) if model else query
    query = query.group_by(HourRow.hour_unix_ms, HourRow.kind).order_by(HourRow.hour_unix_ms, HourRow.kind)
    return [
        HourRecord(hour_ms, kind, int(size_bytes)) for hour_ms, kind, size_bytes in session.execute(query)
    ]


def _add(session: Session, key: tuple[int, str, str], size_bytes: int) -> bool:
    """Whether there was no row yet; where another server makes it at once, the transaction runs again."""
    hour_ms, model, kind = key
    grown = HourRow.moved_bytes + size_bytes
    done = session.execute(
        update(HourRow)
        .where(HourRow.hour_unix_ms == hour_ms, HourRow.model == model, HourRow.kind == kind)
        .values(moved_bytes=case((HourRow.moved_bytes > _MOST_BYTES - size_bytes, _MOST_BYTES), else_=grown))
        .execution_options(synchronize_session=False)
        .returning(HourRow.kind)
    )
    if done.first() is not None:
        return False
    session.add(HourRow(hour_unix_ms=hour_ms, model=model, kind=kind, moved_bytes=size_bytes))
    session.flush()
    return True


def _merge_old(session: Session, now_ms: int) -> None:
    """Hours that are long gone are days."""
    query = select(HourRow).where(
        HourRow.hour_unix_ms < now_ms - KEPT_HOURS_MS, HourRow.hour_unix_ms % DAY_MS != 0
    )
    old = session.scalars(query.order_by(*inspect(HourRow).primary_key).with_for_update()).all()
    for (day_ms, model, kind), size_bytes in _by_day(old).items():
        _add(session, (day_ms, model, kind), min(size_bytes, _MOST_BYTES))
    for row in old:
        session.delete(row)
    session.flush()


def _by_day(rows: Iterable[HourRow]) -> dict[tuple[int, str, str], int]:
    days: defaultdict[tuple[int, str, str], int] = defaultdict(int)
    for row in rows:
        days[row.hour_unix_ms - row.hour_unix_ms % DAY_MS, row.model, row.kind] += row.moved_bytes
    return dict(sorted(days.items()))
