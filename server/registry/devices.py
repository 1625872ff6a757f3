"""Devices in the tables: enrolled, seen, forgotten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from common.errors import ConflictError, InvalidInputError, NotFoundError
from common.names import check_name
from common.transfer_limits import MeteredRule, TransferLimits
from server.registry.records import AssignmentRecord, DeviceRecord
from server.registry.tables import AssignedVersionRow, DeviceRow, NewestProvenRow, VersionRow

_LABEL_LENGTH: Final = 64
_MAX_STATE_BYTES: Final = 256 * 1024
_MAX_GENERATION: Final = 1 << 62


def enrol(
    session: Session, device_id: str, key_sha256: str, *, agent_version: str, platform: str, now_ms: int
) -> DeviceRecord:
    """The device is known under its id.

    Raises:
        InvalidInputError: The id is no name.
        ConflictError: A device with another key has this id.
    """
    check_name(device_id, what="device")
    row = session.get(DeviceRow, device_id, with_for_update=True)
    if row is None:
        row = DeviceRow(device_id=device_id, enrolled_unix_ms=now_ms)
        session.add(row)
    elif row.key_sha256 is None:
        row.enrolled_unix_ms = now_ms
    elif row.key_sha256 != key_sha256:
        raise ConflictError(
            f"Another device is enrolled as {device_id}.",
            advice=f"Run `nestfleet devices --forget {device_id}` if its store is lost, or take another id.",
        )
    row.key_sha256 = key_sha256
    row.agent_version = _label(agent_version)
    row.platform = _label(platform)
    row.last_seen_unix_ms = now_ms
    session.flush()
    return device_record(session, row)


def find(session: Session, device_id: str, *, lock: bool = False) -> DeviceRow:
    """The row of an enrolled device.

    Raises:
        NotFoundError: There is none.
    """
    row = session.get(DeviceRow, device_id, with_for_update=lock or None)
    if row is None or row.key_sha256 is None:
        raise NotFoundError(f"There is no device {device_id[:80]}.", advice="See `nestfleet devices`.")
    return row


def find_or_none(session: Session, device_id: str) -> DeviceRow | None:
    """The locked row of an enrolled device; None for any other."""
    row = session.get(DeviceRow, device_id, with_for_update=True)
    return row if row is not None and row.key_sha256 is not None else None


def enrolled(session: Session, *, lock: bool = False) -> list[DeviceRow]:
    """The rows of all enrolled devices, by id."""
    query = select(DeviceRow).where(DeviceRow.key_sha256.is_not(None)).order_by(DeviceRow.device_id)
    return list(session.scalars(query.with_for_update() if lock else query))


def forget(session: Session, device_id: str) -> None:
    """The id is free; assignment, limits, key and what it proved are gone, its ledger stays.

    Raises:
        NotFoundError: There is no such device.
    """
    row = find(session, device_id, lock=True)
    session.execute(delete(NewestProvenRow).where(NewestProvenRow.device_id == device_id))
    row.key_sha256 = row.state = None
    row.proven_model = row.proven_version = None
    row.assigned = []
    row.agent_version = row.platform = row.session_id = ""
    row.memory_budget_bytes = 0
    row.bandwidth_bytes_per_second = row.monthly_bytes = 0
    row.metered_rule = row.quiet_hours = ""
    row.online = False


def record_state(
    session: Session,
    device_id: str,
    state: bytes,
    proven: tuple[str, int] | None,
    *,
    further: Sequence[tuple[str, int]],
    now_ms: int,
    seen_generation: int,
) -> DeviceRecord | None:
    """The device's last report is known; None for a device that is not enrolled.

    A report equal to the last one is a broker's retained copy, so it is no sign of life.
    """
    if len(state) > _MAX_STATE_BYTES:
        raise InvalidInputError(f"A state has at most {_MAX_STATE_BYTES} bytes, not {len(state)}.")
    row = find_or_none(session, device_id)
    if row is None:
        return None
    if row.state != state:
        row.state = state
        row.last_seen_unix_ms = max(row.last_seen_unix_ms, now_ms)
    row.proven_model, row.proven_version = proven or (None, None)
    for model, version in {*further, *([proven] if proven else [])}:
        _remember_proven(session, device_id, model, version)
    _catch_up(row, seen_generation)
    return device_record(session, row)


def _remember_proven(session: Session, device_id: str, model: str, version: int) -> None:
    """Versions that the registry never had do not count: they would bar every assignment."""
    if session.get(VersionRow, (model, version)) is None:
        return
    newest = session.get(NewestProvenRow, (device_id, model))
    if newest is None:
        session.add(NewestProvenRow(device_id=device_id, model=model, version=version))
    else:
        newest.version = max(newest.version, version)


def _catch_up(row: DeviceRow, seen_generation: int) -> None:
    """A device that has seen more than this registry (restored from a copy, say) would ignore its goals."""
    if row.assignment_generation < seen_generation < _MAX_GENERATION:
        row.assignment_generation = seen_generation + (1 if row.assigned else 0)


def record_presence(
    session: Session, device_id: str, session_id: str, now_ms: int, *, online: bool
) -> DeviceRecord | None:
    """Whether the device is there; the farewell of a process followed by a newer one changes nothing."""
    row = find_or_none(session, device_id)
    if row is None:
        return None
    if online:
        row.online = True
        row.session_id = _label(session_id)
        row.last_seen_unix_ms = max(row.last_seen_unix_ms, now_ms)
    elif row.session_id == _label(session_id):
        row.online = False
    return device_record(session, row)


def device_record(session: Session, row: DeviceRow) -> DeviceRecord:
    """The record of a row."""
    return DeviceRecord(
        device_id=row.device_id,
        agent_version=row.agent_version,
        platform=row.platform,
        enrolled_unix_ms=row.enrolled_unix_ms,
        last_seen_unix_ms=row.last_seen_unix_ms,
        online=row.online,
        session_id=row.session_id,
        assigned=tuple(_assigned(session, assigned) for assigned in row.assigned),
        assignment_generation=row.assignment_generation,
        memory_budget_bytes=row.memory_budget_bytes,
        transfer_limits=_transfer_limits(row),
        limits_generation=row.limits_generation,
        state=row.state or b"",
        proven=_proven(row),
    )


def _transfer_limits(row: DeviceRow) -> TransferLimits:
    return TransferLimits(
        bandwidth_bytes_per_second=row.bandwidth_bytes_per_second,
        monthly_bytes=row.monthly_bytes,
        metered=MeteredRule(row.metered_rule) if row.metered_rule else None,
        quiet_hours=row.quiet_hours,
    )


def _proven(row: DeviceRow) -> tuple[str, int] | None:
    if row.proven_model is None or row.proven_version is None:
        return None
    return row.proven_model, row.proven_version


def _assigned(session: Session, row: AssignedVersionRow) -> AssignmentRecord:
    version = session.get_one(VersionRow, (row.model, row.version))
    return AssignmentRecord(
        model=version.model,
        version=version.version,
        manifest_digest=version.manifest_digest,
        manifest_size_bytes=version.manifest_size_bytes,
        max_level=row.max_level,
        allow_older=row.allow_older,
        issued_unix_ms=row.issued_unix_ms,
    )


def _label(text: str) -> str:
    """Short and printable: it comes from a peer and goes to a terminal."""
    return "".join(character for character in text[:_LABEL_LENGTH] if character.isprintable())
