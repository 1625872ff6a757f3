"""The agent's state and its ledger as the messages that the server takes. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from nestfleet.v1 import catalog_pb2, control_pb2

from common.digest import to_wire
from common.transfer_limits import transfer_limits_message
from device_agent.store.ledger import Kind, Total
from device_agent.store.overhead import NO_VERSION
from device_agent.store.records import Release
from device_agent.update.allowance import TransferHold
from device_agent.update.model_status import ModelStatus
from device_agent.update.progress import Fault, Phase
from device_agent.update.status import Status

# A report stays far below what a server takes (256 KiB); older versions were reported when they were new.
MAX_REPORTED_TOTALS: Final = 1024
MAX_REPORTED_VERSIONS: Final = 1024
_PHASES: Final = {
    Phase.IDLE: control_pb2.PHASE_IDLE,
    Phase.FETCHING: control_pb2.PHASE_FETCHING,
    Phase.PROVING: control_pb2.PHASE_PROVING,
    Phase.FAILED: control_pb2.PHASE_FAILED,
    Phase.WAITING: control_pb2.PHASE_WAITING,
}
_KINDS: Final = {
    Kind.BASE: control_pb2.TRANSFER_KIND_BASE,
    Kind.SHARD: control_pb2.TRANSFER_KIND_SHARD,
    Kind.UPDATE: control_pb2.TRANSFER_KIND_UPDATE,
    Kind.METADATA: control_pb2.TRANSFER_KIND_METADATA,
    Kind.RETRANSMITTED: control_pb2.TRANSFER_KIND_RETRANSMITTED,
    Kind.OVERHEAD: control_pb2.TRANSFER_KIND_OVERHEAD,
    Kind.DELTA: control_pb2.TRANSFER_KIND_DELTA,
}


def state_message(status: Status, now_unix_ms: int) -> control_pb2.DeviceState:
    """The message for the server."""
    return control_pb2.DeviceState(
        device_id=status.device_id,
        session_id=status.session_id,
        reported_unix_ms=now_unix_ms,
        phase=_PHASES[status.phase],
        assigned=_ref(status.assigned),
        downloaded=_ref(status.downloaded),
        proven=_ref(status.proven),
        level=status.level,
        blocks=_block_messages(status.blocks),
        memory_budget_bytes=status.budget_bytes,
        resident_bytes=status.resident_bytes,
        disk_bytes=status.disk_bytes,
        fault=_fault_message(status.fault),
        fetch_done_bytes=status.fetch_done_bytes,
        fetch_total_bytes=status.fetch_total_bytes,
        inference_url=status.inference_url,
        first_inference_seconds=status.first_inference_seconds,
        loaded_digest=_digest(status.loaded_digest),
        assignment_generation=status.generation,
        hold=_hold_message(status.hold),
        transfer_limits=transfer_limits_message(status.transfer_limits),
        month_bytes=status.month_bytes,
        metered=status.metered,
        models=map(_model_message, status.models),
    )


def _model_message(status: ModelStatus) -> control_pb2.ModelState:
    return control_pb2.ModelState(
        model=status.model,
        assigned=_ref(status.assigned),
        downloaded=_ref(status.downloaded),
        proven=_ref(status.proven),
        level=status.level,
        blocks=_block_messages(status.blocks),
        resident_bytes=status.resident_bytes,
        memory_share_bytes=status.memory_share_bytes,
        fault=_fault_message(status.fault),
        loaded_digest=_digest(status.loaded_digest),
    )


def ledger_message(
    device_id: str,
    ledger_id: str,
    totals: Sequence[Total],
    reached: Mapping[tuple[str, int], Sequence[int]],
    now_unix_ms: int,
) -> control_pb2.LedgerReport:
    """The message for the server; ``totals`` come with the most recently changed first.

    What crossed before any version was wanted is left out: it is counted for the first one that is.
    """
    return control_pb2.LedgerReport(
        device_id=device_id,
        ledger_id=ledger_id,
        reported_unix_ms=now_unix_ms,
        totals=[
            control_pb2.TransferTotal(
                ref=catalog_pb2.VersionRef(model=total.model, version=total.version),
                kind=_KINDS[total.kind],
                level=total.level,
                payload_bytes=total.payload_bytes,
                blobs=total.blobs,
            )
            for total in totals[:MAX_REPORTED_TOTALS]
            if (total.model, total.version) != NO_VERSION
        ],
        reached=[
            control_pb2.LevelsReached(ref=catalog_pb2.VersionRef(model=model, version=version), levels=levels)
            for (model, version), levels in list(reached.items())[-MAX_REPORTED_VERSIONS:]
        ],
    )


def _ref(release: Release | None) -> catalog_pb2.VersionRef | None:
    return catalog_pb2.VersionRef(model=release.model, version=release.version) if release else None


def _digest(digest: str) -> bytes:
    return to_wire(digest) if digest else b""


def _block_messages(blocks: Sequence[tuple[int, int]]) -> list[control_pb2.LevelBlocks]:
    return [control_pb2.LevelBlocks(level=level, blocks=count) for level, count in blocks]


def _fault_message(fault: Fault | None) -> control_pb2.Fault | None:
    if fault is None:
        return None
    return control_pb2.Fault(code=fault.code, detail=fault.detail, ref=_ref(fault.release))


def _hold_message(hold: TransferHold | None) -> control_pb2.TransferHold | None:
    if hold is None:
        return None
    return control_pb2.TransferHold(
        limit=hold.limit.value, detail=hold.detail[:500], until_unix_ms=max(0, hold.until_unix_ms)
    )
