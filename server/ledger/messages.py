"""Ledger values as messages, and back."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from nestfleet.v1 import catalog_pb2, control_pb2, fleet_pb2

from common.errors import InvalidInputError
from common.names import check_name, is_name
from server.ledger.savings import Kind, Savings
from server.registry.records import HourRecord, ReachedRecord, TransferRecord

_MAX_ROWS: Final = 4096
_MAX_LEVELS: Final = 8
_MAX_VERSION: Final = 0x7FFFFFFF
_END_OF_TIME_MS: Final = 253_402_300_800_000  # the year 10000, beyond what calendars here know
_MAX_COUNT: Final = 1 << 50  # a PiB, or as many blobs: beyond any device
_KINDS: Final = {
    control_pb2.TRANSFER_KIND_BASE: Kind.BASE,
    control_pb2.TRANSFER_KIND_SHARD: Kind.SHARD,
    control_pb2.TRANSFER_KIND_UPDATE: Kind.UPDATE,
    control_pb2.TRANSFER_KIND_METADATA: Kind.METADATA,
    control_pb2.TRANSFER_KIND_RETRANSMITTED: Kind.RETRANSMITTED,
    control_pb2.TRANSFER_KIND_OVERHEAD: Kind.OVERHEAD,
    control_pb2.TRANSFER_KIND_DELTA: Kind.DELTA,
}
_WIRE_KINDS: Final = {kind: number for number, kind in _KINDS.items()}


def check_report(report: control_pb2.LedgerReport) -> None:
    """A report whose frame can be trusted: ids are names, and there are not too many rows.

    Raises:
        InvalidInputError: It is none.
    """
    check_name(report.device_id, what="device")
    check_name(report.ledger_id, what="ledger")
    if len(report.totals) > _MAX_ROWS or len(report.reached) > _MAX_ROWS:
        raise InvalidInputError(f"A ledger report has at most {_MAX_ROWS} rows.")


def totals(report: control_pb2.LedgerReport) -> list[TransferRecord]:
    """The report's byte counts; rows of an unknown kind, or beyond reason, are left out."""
    return [
        TransferRecord(
            model=total.ref.model,
            version=total.ref.version,
            kind=_KINDS[total.kind],
            level=total.level,
            payload_bytes=total.payload_bytes,
            blobs=total.blobs,
        )
        for total in report.totals
        if total.kind in _KINDS
        and _is_version(total.ref)
        and total.level <= _MAX_LEVELS
        and total.payload_bytes <= _MAX_COUNT
    ]


def reached(report: control_pb2.LedgerReport) -> list[ReachedRecord]:
    """The levels that the report names; those that are none are left out."""
    return [
        ReachedRecord(item.ref.model, item.ref.version, level)
        for item in report.reached
        if _is_version(item.ref)
        for level in sorted(set(item.levels[:_MAX_LEVELS]))
        if 1 <= level <= _MAX_LEVELS
    ]


def _is_version(ref: catalog_pb2.VersionRef) -> bool:
    return is_name(ref.model) and 1 <= ref.version <= _MAX_VERSION


def savings_message(savings: Savings) -> fleet_pb2.Savings:
    """A row of the comparison for the wire."""
    return fleet_pb2.Savings(
        device_id=savings.device_id,
        base_bytes=savings.base_bytes,
        shard_bytes=savings.shard_bytes,
        update_bytes=savings.update_bytes,
        metadata_bytes=savings.metadata_bytes,
        retransmitted_bytes=savings.retransmitted_bytes,
        moved_bytes=savings.moved_bytes,
        fp32_bytes=savings.fp32_bytes,
        int8_bytes=savings.int8_bytes,
        separate_bytes=savings.separate_bytes,
        paper_bytes=savings.paper_bytes,
        versions=savings.versions,
        overhead_bytes=savings.overhead_bytes,
        delta_bytes=savings.delta_bytes,
    )


def savings_from_message(message: fleet_pb2.Savings) -> Savings:
    """A row of the comparison from the wire."""
    return Savings(
        device_id=message.device_id,
        base_bytes=message.base_bytes,
        shard_bytes=message.shard_bytes,
        update_bytes=message.update_bytes,
        metadata_bytes=message.metadata_bytes,
        retransmitted_bytes=message.retransmitted_bytes,
        fp32_bytes=message.fp32_bytes,
        int8_bytes=message.int8_bytes,
        separate_bytes=message.separate_bytes,
        paper_bytes=message.paper_bytes,
        versions=message.versions,
        overhead_bytes=message.overhead_bytes,
        delta_bytes=message.delta_bytes,
    )


def hour_messages(hours: Iterable[HourRecord]) -> list[fleet_pb2.HourlyBytes]:
    """Bytes over time for the wire, oldest first; kinds that this server does not know are left out."""
    return [
        fleet_pb2.HourlyBytes(
            unix_ms=hour.hour_unix_ms, kind=_WIRE_KINDS[Kind(hour.kind)], bytes=hour.moved_bytes
        )
        for hour in hours
        if hour.kind in set(Kind)
    ]


def hours_from_messages(messages: Iterable[fleet_pb2.HourlyBytes]) -> list[HourRecord]:
    """Bytes over time from the wire; unknown kinds, and times that are none, are left out."""
    return [
        HourRecord(hour_unix_ms=message.unix_ms, kind=_KINDS[message.kind], moved_bytes=message.bytes)
        for message in messages
        if message.kind in _KINDS and message.unix_ms < _END_OF_TIME_MS
    ]
