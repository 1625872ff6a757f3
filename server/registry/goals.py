"""What operators want of devices: assignments and limits in the tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from common.assigned_set import check_models
from common.errors import ConflictError, InvalidInputError
from common.transfer_limits import TransferLimits, check_transfer_limits
from server.registry import devices, versions
from server.registry.records import DeviceRecord
from server.registry.tables import AssignedVersionRow, DeviceRow, NewestProvenRow, VersionRow

_MAX_BYTES: Final = (1 << 63) - 1


def assign(
    session: Session,
    device_ids: Sequence[str] | None,
    refs: Sequence[tuple[str, int]],
    *,
    beside: bool,
    max_level: int,
    now_ms: int,
    allow_older: bool,
) -> list[DeviceRecord]:
    """All these devices shall run the versions, or none of them has changed.

    Args:
        session: Of the transaction.
        device_ids: None stands for the whole fleet.
        refs: Models, each with a number; 0 stands for the newest.
        beside: Whether what else is assigned stays.
        max_level: Of each of the versions.
        now_ms: When the operator said so.
        allow_older: Of each of the versions.

    Raises:
        NotFoundError: There is no such version, or no such device.
        InvalidInputError: A version does not have that level, or the models are too many for a device.
        ConflictError: A device has proven a newer version, and older ones are not allowed.
    """
    check_models([model for model, _ in refs])
    wanted = [_find(session, model, version, max_level) for model, version in refs]
    rows = _rows(session, device_ids)
    if not allow_older:
        for version in wanted:
            _refuse_older(session, rows, version)
    for row in rows:
        new = [_assigned(row, version, max_level, now_ms, allow_older=allow_older) for version in wanted]
        _take(row, new, beside=beside)
        row.assignment_generation += 1
    session.flush()
    return [devices.device_record(session, row) for row in rows]


def _find(session: Session, model: str, version: int, max_level: int) -> VersionRow:
    found = versions.find(session, model, version, hold=True)
    if max_level and max_level not in found.levels:
        levels = ", ".join(str(level) for level in found.levels)
        raise InvalidInputError(
            f"{model}:{found.version} has no level {max_level}.",
            advice=f"Take one of {levels}, or 0 for all.",
        )
    return found


def _assigned(
    row: DeviceRow, version: VersionRow, max_level: int, now_ms: int, *, allow_older: bool
) -> AssignedVersionRow:
    """The row that says so; the old one of the model, where there is one."""
    assigned = next((item for item in row.assigned if item.model == version.model), None)
    assigned = assigned or AssignedVersionRow(device_id=row.device_id, model=version.model)
    assigned.version = version.version
    assigned.max_level = max_level
    assigned.allow_older = allow_older
    assigned.issued_unix_ms = now_ms
    return assigned


def _take(row: DeviceRow, new: Sequence[AssignedVersionRow], *, beside: bool) -> None:
    """The device has these, in this order; beside others, those of new models come last."""
    kept = list(row.assigned) if beside else []
    together = [*kept, *(item for item in new if item not in kept)] if kept else list(new)
    try:
        check_models([item.model for item in together])
    except InvalidInputError as error:
        raise InvalidInputError(f"{row.device_id}: {error.message}", advice=error.advice) from error
    for place, item in enumerate(together):
        item.place = place
    row.assigned = together


def _rows(session: Session, device_ids: Sequence[str] | None) -> list[DeviceRow]:
    """Locked in the order of their ids, so that two assignments at once never wait for each other."""
    if device_ids is None:
        return devices.enrolled(session, lock=True)
    return [devices.find(session, device_id, lock=True) for device_id in sorted(set(device_ids))]


def _refuse_older(session: Session, rows: Sequence[DeviceRow], wanted: VersionRow) -> None:
    ids = {row.device_id for row in rows}
    newer = session.scalars(
        select(NewestProvenRow)
        .where(NewestProvenRow.model == wanted.model, NewestProvenRow.version > wanted.version)
        .order_by(NewestProvenRow.device_id)
    )
    for proven in newer:
        if proven.device_id in ids:
            raise ConflictError(
                f"{proven.device_id} has proven {wanted.model}:{proven.version},"
                f" which is newer than {wanted.model}:{wanted.version}.",
                advice="Pass --allow-older to go back.",
            )


def set_limits(
    session: Session, device_id: str, memory_budget_bytes: int, transfer: TransferLimits | None
) -> DeviceRecord:
    """The operator limits the device's memory budget, 0 lifting the limit, and its transfers.

    Args:
        session: Of the transaction.
        device_id: Which device.
        memory_budget_bytes: 0 for no limit.
        transfer: None leaves the limits of transfer as they are.

    Raises:
        InvalidInputError: A limit is negative or absurd.
        NotFoundError: There is no such device.
    """
    if not 0 <= memory_budget_bytes <= _MAX_BYTES:
        raise InvalidInputError(f"{memory_budget_bytes} bytes are no memory budget.")
    if transfer is not None:
        check_transfer_limits(transfer)
    row = devices.find(session, device_id, lock=True)
    row.memory_budget_bytes = memory_budget_bytes
    if transfer is not None:
        row.bandwidth_bytes_per_second = transfer.bandwidth_bytes_per_second
        row.monthly_bytes = transfer.monthly_bytes
        row.metered_rule = transfer.metered.value if transfer.metered else ""
        row.quiet_hours = transfer.quiet_hours
    row.limits_generation += 1
    return devices.device_record(session, row)
