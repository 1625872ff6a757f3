"""Byte counts of devices in the tables. They are cumulative, so a lost or repeated report changes nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from sqlalchemy import func, inspect, select
from sqlalchemy.orm import Session

from common.errors import CapacityError
from server.registry import devices, moved_hours
from server.registry.records import ReachedRecord, TransferRecord
from server.registry.tables import ReachedRow, TransferRow, VersionRow

# A ledger starts anew when a device loses its store; a device that says so this often is broken or hostile.
_MAX_LEDGERS: Final = 64


def record(
    session: Session,
    device_id: str,
    ledger_id: str,
    totals: Sequence[TransferRecord],
    levels: Sequence[ReachedRecord],
    *,
    now_ms: int,
) -> bool:
    """The counts are known; a smaller one than before is an old report's.

    Returns:
        False for a device that is not enrolled, whose counts are not kept.

    Raises:
        CapacityError: The device has had too many ledgers.
    """
    if devices.find_or_none(session, device_id) is None:
        return False
    _check_ledger(session, device_id, ledger_id)
    known = _known(session, {*map(_ref, totals), *map(_ref, levels)})
    added = _raise_totals(session, device_id, ledger_id, [item for item in totals if _ref(item) in known])
    moved_hours.add(session, added, now_ms)
    _add_reached(session, device_id, ledger_id, [item for item in levels if _ref(item) in known], now_ms)
    return True


def _check_ledger(session: Session, device_id: str, ledger_id: str) -> None:
    ledgers = session.scalar(
        select(func.count(TransferRow.ledger_id.distinct())).where(
            TransferRow.device_id == device_id, TransferRow.ledger_id != ledger_id
        )
    )
    if (ledgers or 0) >= _MAX_LEDGERS:
        raise CapacityError(f"{device_id} has started {ledgers} ledgers; no further one is kept.")


def _ref(item: TransferRecord | ReachedRecord) -> tuple[str, int]:
    return item.model, item.version


def _known(session: Session, refs: set[tuple[str, int]]) -> set[tuple[str, int]]:
    """Which of them the registry has or had: a device cannot make up versions."""
    models = {model for model, _ in refs}
    rows = session.execute(select(VersionRow.model, VersionRow.version).where(VersionRow.model.in_(models)))
    return refs & {(model, version) for model, version in rows}


def _raise_totals(
    session: Session, device_id: str, ledger_id: str, totals: Sequence[TransferRecord]
) -> dict[tuple[str, str], int]:
    """Model and kind to the bytes that are new."""
    added: defaultdict[tuple[str, str], int] = defaultdict(int)
    query = select(TransferRow).where(TransferRow.device_id == device_id, TransferRow.ledger_id == ledger_id)
    rows = {(row.model, row.version, row.kind, row.level): row for row in session.scalars(query)}
    for total in totals:
        key = (total.model, total.version, total.kind, total.level)
        if key not in rows:
            rows[key] = _new_row(device_id, ledger_id, total)
            session.add(rows[key])
        added[total.model, total.kind] += max(0, total.payload_bytes - rows[key].payload_bytes)
        rows[key].payload_bytes = max(rows[key].payload_bytes, total.payload_bytes)
        rows[key].blobs = max(rows[key].blobs, total.blobs)
    session.flush()
    return added


def _new_row(device_id: str, ledger_id: str, total: TransferRecord) -> TransferRow:
    return TransferRow(
        device_id=device_id,
        ledger_id=ledger_id,
        model=total.model,
        version=total.version,
        kind=total.kind,
        level=total.level,
        payload_bytes=0,
        blobs=0,
    )


def _add_reached(
    session: Session, device_id: str, ledger_id: str, levels: Sequence[ReachedRecord], now_ms: int
) -> None:
    query = select(ReachedRow.model, ReachedRow.version, ReachedRow.level).where(
        ReachedRow.device_id == device_id, ReachedRow.ledger_id == ledger_id
    )
    known = {(model, version, level) for model, version, level in session.execute(query)}
    for model, version, level in {(*_ref(item), item.level) for item in levels} - known:
        session.add(
            ReachedRow(
                device_id=device_id,
                ledger_id=ledger_id,
                model=model,
                version=version,
                level=level,
                since_unix_ms=now_ms,
            )
        )


def transfers(session: Session, model: str) -> list[TransferRecord]:
    """All byte counts, or those of one model."""
    query = select(TransferRow).order_by(*inspect(TransferRow).primary_key)
    query = query.where(TransferRow.model == model) if model else query
    return [
        TransferRecord(
            model=row.model,
            version=row.version,
            kind=row.kind,
            level=row.level,
            payload_bytes=row.payload_bytes,
            blobs=row.blobs,
            device_id=row.device_id,
            ledger_id=row.ledger_id,
        )
        for row in session.scalars(query)
    ]


def reached(session: Session, model: str) -> list[ReachedRecord]:
    """All levels reached, or those of one model."""
    query = select(ReachedRow).order_by(*inspect(ReachedRow).primary_key)
    query = query.where(ReachedRow.model == model) if model else query
    return [
        ReachedRecord(row.model, row.version, row.level, row.device_id, row.ledger_id)
        for row in session.scalars(query)
    ]
