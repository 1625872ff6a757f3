"""What nesting saved: bytes moved, against what the same history would have moved under other schemes.

A history is the versions that a device has run, and the levels that it has run them at. A device that lost
its store fetched anew, and would have under every scheme, so each of its ledgers counts by itself. The other
schemes are charged for weights alone, and only for versions that ran: what a failed version moved, metadata,
retransmissions and overhead stand on our side only.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from common.sizes import SizeReport
from server.registry.records import ReachedRecord, TransferRecord


class Kind(StrEnum):
    """Why bytes moved."""

    BASE = "base"  # base blobs of the first version of a model on a device
    SHARD = "shard"  # shards of that version
    UPDATE = "update"  # base blobs and shards of any later version
    METADATA = "metadata"  # manifests, graphs, self-tests
    RETRANSMITTED = "retransmitted"  # bytes that had been received before
    OVERHEAD = "overhead"  # framing, requests and control messages, both ways
    DELTA = "delta"  # what stands for blobs of a later version


@dataclass(frozen=True, slots=True)
class Savings:
    """One row of the comparison.

    Attributes:
        device_id: Empty in the fleet's row.
        versions: Versions that this row's history counts.
        fp32_bytes: Each version as 32-bit floats.
        int8_bytes: Each version as one INT8 model.
        separate_bytes: Each version as one dedicated model per level that was run.
        paper_bytes: Each version in the paper's packing; the low part where a level above the base was run.
    """

    device_id: str = ""
    base_bytes: int = 0
    shard_bytes: int = 0
    update_bytes: int = 0
    metadata_bytes: int = 0
    retransmitted_bytes: int = 0
    fp32_bytes: int = 0
    int8_bytes: int = 0
    separate_bytes: int = 0
    paper_bytes: int = 0
    versions: int = 0
    overhead_bytes: int = 0
    delta_bytes: int = 0

    @property
    def moved_bytes(self) -> int:
        """Everything that crossed the wire."""
        return sum(self.moved_by_kind().values())

    def moved_by_kind(self) -> dict[Kind, int]:
        """Bytes of every kind."""
        return {kind: getattr(self, f"{kind}_bytes") for kind in Kind}


@dataclass(frozen=True, slots=True)
class Comparison:
    """A row for each device, by id, and their sum."""

    devices: tuple[Savings, ...]
    fleet: Savings


def compare(
    transfers: Iterable[TransferRecord],
    reached: Iterable[ReachedRecord],
    sizes: Mapping[tuple[str, int], SizeReport],
) -> Comparison:
    """The comparison over all that devices have reported.

    Args:
        transfers: Byte counts; kinds other than Kind's count nothing.
        reached: Levels run.
        sizes: What each version weighs, by model and number.
    """
    rows: defaultdict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for transfer in transfers:
        if transfer.kind in set(Kind):
            rows[transfer.device_id][f"{transfer.kind}_bytes"] += transfer.payload_bytes
    for (device_id, _, model, version), levels in _histories(reached).items():
        report = sizes.get((model, version))
        if report is not None:
            for name, amount in _under_other_schemes(report, levels).items():
                rows[device_id][name] += amount
    devices = tuple(Savings(device_id=device_id, **rows[device_id]) for device_id in sorted(rows))
    return Comparison(devices, _sum(devices))


def _histories(reached: Iterable[ReachedRecord]) -> dict[tuple[str, str, str, int], set[int]]:
    """Levels by device, ledger, model and version."""
    levels: defaultdict[tuple[str, str, str, int], set[int]] = defaultdict(set)
    for item in reached:
        levels[item.device_id, item.ledger_id, item.model, item.version].add(item.level)
    return levels


def _under_other_schemes(report: SizeReport, levels: set[int]) -> dict[str, int]:
    base_level = min(report.separate_bytes, default=0)
    above_base = any(level > base_level for level in levels)
    return {
        "fp32_bytes": report.fp32_bytes,
        "int8_bytes": report.int8_bytes,
        "separate_bytes": sum(report.separate_bytes.get(level, 0) for level in levels),
        "paper_bytes": report.paper_high_bytes + (report.paper_low_bytes if above_base else 0),
        "versions": 1,
    }


def _sum(rows: Iterable[Savings]) -> Savings:
    rows = tuple(rows)
    names = [field.name for field in fields(Savings) if field.name != "device_id"]
    return Savings(**{name: sum(getattr(row, name) for row in rows) for name in names})
