"""What the agent knows of each of its models, as values, and as JSON for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from common.manifest import Manifest
from device_agent.residency.policy import lowest_level
from device_agent.store.records import AgentRecord, Release, Slot
from device_agent.update.keeper import Keeper
from device_agent.update.progress import Fault, Progress
from device_agent.update.served import Served


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What is true of one model; fields as in ``ModelState``."""

    model: str
    assigned: Release | None = None
    downloaded: Release | None = None
    proven: Release | None = None
    level: int = 0
    blocks: tuple[tuple[int, int], ...] = ()
    resident_bytes: int = 0
    memory_share_bytes: int = 0
    fault: Fault | None = None
    loaded_digest: str = ""


def model_statuses(record: AgentRecord, keeper: Keeper, progress: Progress) -> tuple[ModelStatus, ...]:
    """Every model that is wanted, in the server's order, then every other that answers."""
    answering = keeper.answering
    found = []
    for slot in record.slots:
        status = ModelStatus(
            slot.model,
            assigned=slot.goal.release if slot.goal else None,
            downloaded=progress.downloaded.get(slot.model),
            fault=_fault(slot, progress),
        )
        if slot.model in answering:
            now, version = answering[slot.model]
            levels, resident_bytes, loaded_digest = _in_memory(version)
            status = replace(
                status,
                proven=now.installed.release,
                level=lowest_level(version.manifest, levels),
                blocks=_blocks(version.manifest, levels),
                resident_bytes=resident_bytes,
                memory_share_bytes=now.memory_bytes,
                loaded_digest=loaded_digest,
            )
        if status.assigned is not None or status.proven is not None:
            found.append(status)
    return tuple(found)


def model_tree(status: ModelStatus) -> dict[str, Any]:
    """The state of one model as JSON can carry it."""
    return {
        "model": status.model,
        "assigned": release_tree(status.assigned),
        "downloaded": release_tree(status.downloaded),
        "proven": release_tree(status.proven),
        "level": status.level,
        "blocks": {str(level): count for level, count in status.blocks},
        "resident_bytes": status.resident_bytes,
        "memory_share_bytes": status.memory_share_bytes,
        "fault": fault_tree(status.fault),
        "loaded_digest": status.loaded_digest,
    }


def release_tree(release: Release | None) -> dict[str, Any] | None:
    """A version as JSON can carry it."""
    return {"model": release.model, "version": release.version} if release else None


def fault_tree(fault: Fault | None) -> dict[str, Any] | None:
    """A failure as JSON can carry it."""
    if fault is None:
        return None
    return {"code": fault.code, "detail": fault.detail, **(release_tree(fault.release) or {})}


def _in_memory(version: Served) -> tuple[tuple[int, ...], int, str]:
    """The level of each block, the memory that they take, and what names the codes: all of one moment.

    Blocks change one by one in another thread meanwhile. They are looked at again until none has.
    """
    loaded_digest = version.loaded_digest
    while True:
        levels, resident_bytes = tuple(version.levels), version.resident_bytes
        before, loaded_digest = loaded_digest, version.loaded_digest
        if loaded_digest == before:
            return levels, resident_bytes, loaded_digest


def _blocks(manifest: Manifest, levels: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """Level to the count of blocks at it; blocks without quantized tensors have no level."""
    quantized = (level for block, level in zip(manifest.blocks, levels, strict=True) if block.tensors)
    return tuple(sorted(Counter(quantized).items()))


def _fault(slot: Slot, progress: Progress) -> Fault | None:
    failure = slot.failure
    if failure is not None:
        return Fault(failure.release, failure.code, failure.detail)
    return progress.faults.get(slot.model)
