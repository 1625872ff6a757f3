"""What the registry hands out: frozen values, whole, and independent of the database."""

from __future__ import annotations

from dataclasses import dataclass

from common.manifest import Manifest
from common.sizes import SizeReport
from common.transfer_limits import TransferLimits


@dataclass(frozen=True, slots=True)
class NewVersion:
    """A version about to be added.

    Attributes:
        manifest: Carries the number that the registry asked for.
        sizes: What it weighs under each scheme.
    """

    manifest: Manifest
    sizes: SizeReport


@dataclass(frozen=True, slots=True)
class VersionRecord:
    """A version as the registry knows it.

    Attributes:
        manifest_digest: SHA-256 of the canonical manifest, 64 hex digits.
        blocks: How many blocks the manifest has.
        blobs: How many different blobs it names.
    """

    model: str
    version: int
    levels: tuple[int, ...]
    rounding: str
    manifest_digest: str
    manifest_size_bytes: int
    created_unix_ms: int
    sizes: SizeReport
    blocks: int
    blobs: int


@dataclass(frozen=True, slots=True)
class AssignmentRecord:
    """A version that the server wants on a device.

    Attributes:
        max_level: Highest level that it may take; 0 for no limit.
    """

    model: str
    version: int
    manifest_digest: str
    manifest_size_bytes: int
    max_level: int
    allow_older: bool
    issued_unix_ms: int


@dataclass(frozen=True, slots=True)
class DeviceRecord:
    """An enrolled device.

    Attributes:
        session_id: Of the process that was online last; empty before the first presence.
        assigned: Every version that it shall run, in the operator's order; empty when nothing is assigned.
        assignment_generation: Rises with every assignment, also across a forgotten id.
        memory_budget_bytes: The operator's limit; 0 for none.
        transfer_limits: The operator's limits of transfer.
        limits_generation: Rises with every change of a limit; 0 before the first.
        state: The device's last report, a serialized DeviceState; empty before the first.
        proven: Model and version that it last reported as proven; of several the first.
    """

    device_id: str
    agent_version: str
    platform: str
    enrolled_unix_ms: int
    last_seen_unix_ms: int
    online: bool
    session_id: str
    assigned: tuple[AssignmentRecord, ...]
    assignment_generation: int
    memory_budget_bytes: int
    transfer_limits: TransferLimits
    limits_generation: int
    state: bytes
    proven: tuple[str, int] | None


@dataclass(frozen=True, slots=True)
class TransferRecord:
    """Bytes that a device has moved so far for one version, kind and level.

    Attributes:
        device_id, ledger_id: Who counted; the registry fills them in.
        kind: "base", "shard", "update", "metadata", "retransmitted", "overhead" or "delta".
        level: Level of the blobs; 0 for metadata.
        blobs: Blobs completed.
    """

    model: str
    version: int
    kind: str
    level: int
    payload_bytes: int
    blobs: int
    device_id: str = ""
    ledger_id: str = ""


@dataclass(frozen=True, slots=True)
class ReachedRecord:
    """A level at which a device has run a version."""

    model: str
    version: int
    level: int
    device_id: str = ""
    ledger_id: str = ""


@dataclass(frozen=True, slots=True)
class DeltaRecord:
    """What is known of some neighbouring blobs of a version as a delta against another version.

    Attributes:
        held_digest: Manifest of the version that a device holds.
        wanted_digest: Manifest of the version that it wants.
        block: Index of the block in the wanted manifest.
        first, last: Indices of the lowest and the highest of the block's blobs that it stands for.
        delta_digest: Of the delta; empty where it is not worth its while.
        size_bytes: Of the delta; 0 where it is not worth its while.
    """

    held_digest: str
    wanted_digest: str
    block: int
    first: int
    last: int
    delta_digest: str = ""
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class HourRecord:
    """Bytes of one kind that the fleet moved, by when their reports came.

    Attributes:
        hour_unix_ms: Start of the hour; of the day, UTC, where it is more than a year ago.
        kind: As in TransferRecord.
    """

    hour_unix_ms: int
    kind: str
    moved_bytes: int
