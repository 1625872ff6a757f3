"""Reports as they come from devices: believed within bounds, the rest left out."""

from __future__ import annotations

import pytest
from nestfleet.v1 import catalog_pb2, control_pb2

from common.errors import InvalidInputError
from server.ledger import messages
from server.ledger.savings import Kind, Savings
from server.registry.records import HourRecord, ReachedRecord, TransferRecord


def report(**changes: object) -> control_pb2.LedgerReport:
    fields: dict[str, object] = {"device_id": "board-1", "ledger_id": "0f3c", **changes}
    return control_pb2.LedgerReport(**fields)  # type: ignore[arg-type]


def total(**changes: object) -> control_pb2.TransferTotal:
    fields: dict[str, object] = {
        "ref": {"model": "digits", "version": 2},
        "kind": control_pb2.TRANSFER_KIND_UPDATE,
        "level": 4,
        "payload_bytes": 100,
        "blobs": 3,
        **changes,
    }
    return control_pb2.TransferTotal(**fields)  # type: ignore[arg-type]


def test_every_kind_has_a_name() -> None:
    kinds = [kind for kind in control_pb2.TransferKind.values() if kind]
    named = messages.totals(report(totals=[total(kind=kind) for kind in kinds]))
    assert [item.kind for item in named] == list(Kind)


def test_a_total_becomes_a_record() -> None:
    assert messages.totals(report(totals=[total()])) == [TransferRecord("digits", 2, "update", 4, 100, 3)]


@pytest.mark.parametrize(
    "changes",
    [
        {"kind": control_pb2.TRANSFER_KIND_UNSPECIFIED},
        {"kind": 77},
        {"ref": {"model": "../digits", "version": 1}},
        {"ref": {"model": "", "version": 1}},
        {"ref": {"model": "digits", "version": 0}},
        {"ref": {"model": "digits", "version": 4_000_000_000}},
        {"level": 9},
        {"payload_bytes": (1 << 64) - 1},
    ],
)
def test_a_total_beyond_reason_is_left_out(changes: dict[str, object]) -> None:
    assert messages.totals(report(totals=[total(**changes), total()])) == messages.totals(
        report(totals=[total()])
    )


def test_levels_become_records_once_each_and_those_that_are_none_are_left_out() -> None:
    levels = [
        control_pb2.LevelsReached(
            ref=catalog_pb2.VersionRef(model="digits", version=2), levels=[8, 4, 4, 0, 99]
        ),
        control_pb2.LevelsReached(ref=catalog_pb2.VersionRef(model="DIGITS", version=2), levels=[4]),
        control_pb2.LevelsReached(ref=catalog_pb2.VersionRef(model="digits", version=0), levels=[4]),
    ]
    assert messages.reached(report(reached=levels)) == [
        ReachedRecord("digits", 2, 4),
        ReachedRecord("digits", 2, 8),
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"device_id": "Board 1"},
        {"ledger_id": ""},
        {"ledger_id": "x" * 65},
        {"totals": [total()] * 4097},
        {"reached": [control_pb2.LevelsReached()] * 4097},
    ],
)
def test_a_report_that_cannot_be_one_is_refused(changes: dict[str, object]) -> None:
    messages.check_report(report())
    with pytest.raises(InvalidInputError):
        messages.check_report(report(**changes))


def test_savings_survive_the_wire() -> None:
    row = Savings("board-1", 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, overhead_bytes=100, delta_bytes=1000)
    message = messages.savings_message(row)
    assert message.moved_bytes == 1115
    assert messages.savings_from_message(message) == row


def test_hours_survive_the_wire_and_unknown_kinds_do_not() -> None:
    hours = [HourRecord(3_600_000 * number, kind, 1 << 40) for number, kind in enumerate(Kind)]
    sent = messages.hour_messages([*hours, HourRecord(0, "later", 5)])
    assert messages.hours_from_messages(sent) == hours
    sent[0].kind = 77  # type: ignore[assignment]
    sent[1].unix_ms = (1 << 64) - 1
    assert messages.hours_from_messages(sent) == hours[2:]
