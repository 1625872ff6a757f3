"""Reports of devices into the registry, and the comparison out of it."""

from __future__ import annotations

from nestfleet.v1 import control_pb2

from server.ledger.messages import check_report, reached, totals
from server.ledger.savings import Comparison, compare
from server.registry.repository import Registry


def record(registry: Registry, report: control_pb2.LedgerReport, now_ms: int) -> bool:
    """The report's counts are in the registry.

    Returns:
        False for a device that is not enrolled, whose counts are not kept.

    Raises:
        InvalidInputError: The report's ids are no names, or it has too many rows.
        CapacityError: The device has had too many ledgers.
    """
    check_report(report)
    return registry.record_ledger(report.device_id, report.ledger_id, totals(report), reached(report), now_ms)


def savings(registry: Registry, model: str = "") -> Comparison:
    """The comparison over every model, or one.

    Raises:
        NotFoundError: There is no such model, nor was there.
    """
    sizes = registry.sizes()
    if model and not any(known == model for known, _ in sizes):
        registry.get_version(model)
    return compare(registry.transfers(model), registry.reached(model), sizes)
