"""The agent's whole state as one value, and as JSON for people."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from common.transfer_limits import TransferLimits
from device_agent.store.ledger import Total, by_kind
from device_agent.store.records import Release
from device_agent.store.store import Store
from device_agent.update.allowance import TransferHold
from device_agent.update.gate import TransferGate
from device_agent.update.keeper import Keeper
from device_agent.update.model_status import (
    ModelStatus,
    fault_tree,
    model_statuses,
    model_tree,
    release_tree,
)
from device_agent.update.progress import Fault, Phase, Progress


@dataclass(frozen=True, slots=True)
class Status:
    """What the agent knows of itself; fields as in ``DeviceState``."""

    device_id: str
    session_id: str
    phase: Phase
    assigned: Release | None
    downloaded: Release | None
    proven: Release | None
    level: int
    blocks: tuple[tuple[int, int], ...]
    budget_bytes: int
    resident_bytes: int
    disk_bytes: int
    fault: Fault | None
    fetch_done_bytes: int
    fetch_total_bytes: int
    inference_url: str
    first_inference_seconds: float
    loaded_digest: str
    generation: int
    hold: TransferHold | None
    transfer_limits: TransferLimits
    month_bytes: int
    metered: bool
    models: tuple[ModelStatus, ...]


def take_status(
    store: Store,
    keeper: Keeper,
    progress: Progress,
    gate: TransferGate,
    *,
    session_id: str,
    budget_bytes: int,
    inference_url: str,
    first_inference_seconds: float,
) -> Status:
    """The state at this moment. Looks at the disk."""
    record, sizes, download = store.state.record, store.sizes(), progress.download
    models = model_statuses(record, keeper, progress)
    first = models[0] if models else ModelStatus("")
    faults = [model.fault for model in models if model.fault is not None]
    return Status(
        device_id=record.device_id,
        session_id=session_id,
        phase=progress.phase,
        assigned=first.assigned,
        downloaded=first.downloaded,
        proven=first.proven,
        level=first.level,
        blocks=first.blocks,
        budget_bytes=budget_bytes,
        resident_bytes=first.resident_bytes,
        disk_bytes=sum(sizes.values()),
        fault=faults[0] if faults else None,
        fetch_done_bytes=sum(min(size, sizes.get(digest, 0)) for digest, size in download.items()),
        fetch_total_bytes=sum(download.values()),
        inference_url=inference_url,
        first_inference_seconds=first_inference_seconds,
        loaded_digest=first.loaded_digest,
        generation=record.seen_generation,
        hold=progress.hold,
        transfer_limits=gate.limits,
        month_bytes=gate.month_bytes,
        metered=gate.metered,
        models=models,
    )


def to_tree(status: Status, totals: list[Total], *, broker_connected: bool) -> dict[str, Any]:
    """The state as JSON can carry it, with the ledger's sums."""
    return {
        "device_id": status.device_id,
        "session_id": status.session_id,
        "phase": status.phase.value,
        "assigned": release_tree(status.assigned),
        "downloaded": release_tree(status.downloaded),
        "proven": release_tree(status.proven),
        "level": status.level,
        "blocks": {str(level): count for level, count in status.blocks},
        "memory_budget_bytes": status.budget_bytes,
        "resident_bytes": status.resident_bytes,
        "disk_bytes": status.disk_bytes,
        "fault": fault_tree(status.fault),
        "fetch_done_bytes": status.fetch_done_bytes,
        "fetch_total_bytes": status.fetch_total_bytes,
        "inference_url": status.inference_url,
        "first_inference_seconds": status.first_inference_seconds,
        "loaded_digest": status.loaded_digest,
        "assignment_generation": status.generation,
        "hold": asdict(status.hold) if status.hold else None,
        "transfer_limits": asdict(status.transfer_limits),
        "month_bytes": status.month_bytes,
        "metered": status.metered,
        "broker_connected": broker_connected,
        "models": [model_tree(model) for model in status.models],
        "ledger": by_kind(totals),
    }
