"""The agent's whole state as one value, and as JSON for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

from common.manifest import Manifest
from common.transfer_limits import TransferLimits
from device_agent.residency.policy import lowest_level
from device_agent.store.ledger import Total, by_kind
from device_agent.store.records import AgentRecord, Release
from device_agent.store.store import Store
from device_agent.update.allowance import TransferHold
from device_agent.update.gate import TransferGate
from device_agent.update.keeper import Keeper
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
    record, served, running = store.state.record, keeper.served, keeper.running
    sizes, download = store.sizes(), progress.download
    levels = tuple(served.levels) if served else ()
    return Status(
        device_id=record.device_id,
        session_id=session_id,
        phase=progress.phase,
        assigned=record.goal.release if record.goal else None,
        downloaded=progress.downloaded,
        proven=running.installed.release if running else None,
        level=lowest_level(served.manifest, levels) if served else 0,
        blocks=_blocks(served.manifest, levels) if served else (),
        budget_bytes=budget_bytes,
        resident_bytes=served.resident_bytes if served else 0,
        disk_bytes=sum(sizes.values()),
        fault=_fault(record, progress),
        fetch_done_bytes=sum(min(size, sizes.get(digest, 0)) for digest, size in download.items()),
        fetch_total_bytes=sum(download.values()),
        inference_url=inference_url,
        first_inference_seconds=first_inference_seconds,
        loaded_digest=served.loaded_digest if served else "",
        generation=record.seen_generation,
        hold=progress.hold,
        transfer_limits=gate.limits,
        month_bytes=gate.month_bytes,
        metered=gate.metered,
    )


def to_tree(status: Status, totals: list[Total], *, broker_connected: bool) -> dict[str, Any]:
    """The state as JSON can carry it, with the ledger's sums."""
    return {
        "device_id": status.device_id,
        "session_id": status.session_id,
        "phase": status.phase.value,
        "assigned": _tree(status.assigned),
        "downloaded": _tree(status.downloaded),
        "proven": _tree(status.proven),
        "level": status.level,
        "blocks": {str(level): count for level, count in status.blocks},
        "memory_budget_bytes": status.budget_bytes,
        "resident_bytes": status.resident_bytes,
        "disk_bytes": status.disk_bytes,
        "fault": _fault_tree(status.fault),
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
        "ledger": by_kind(totals),
    }


def _blocks(manifest: Manifest, levels: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Level to the count of blocks at it; blocks without quantized tensors have no level."""
    quantized = (level for block, level in zip(manifest.blocks, levels, strict=True) if block.tensors)
    return tuple(sorted(Counter(quantized).items()))


def _fault(record: AgentRecord, progress: Progress) -> Fault | None:
    failure = record.failure
    if failure is not None:
        return Fault(failure.release, failure.code, failure.detail)
    return progress.fault


def _tree(release: Release | None) -> dict[str, Any] | None:
    return {"model": release.model, "version": release.version} if release else None


def _fault_tree(fault: Fault | None) -> dict[str, Any] | None:
    if fault is None:
        return None
    return {"code": fault.code, "detail": fault.detail, **(_tree(fault.release) or {})}
