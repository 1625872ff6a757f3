"""Records as messages."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.message import DecodeError
from nestfleet.v1 import catalog_pb2, control_pb2, fleet_pb2

from common.digest import to_wire
from common.sizes import SizeReport
from common.transfer_limits import transfer_limits_message
from server.registry.records import DeviceRecord, VersionRecord


def version_message(record: VersionRecord) -> catalog_pb2.Version:
    """A version."""
    return catalog_pb2.Version(
        ref=catalog_pb2.VersionRef(model=record.model, version=record.version),
        levels=record.levels,
        rounding=record.rounding,
        manifest_digest=to_wire(record.manifest_digest),
        manifest_size_bytes=record.manifest_size_bytes,
        created_unix_ms=record.created_unix_ms,
        sizes=sizes_message(record.sizes),
        blocks=record.blocks,
        blobs=record.blobs,
    )


def sizes_message(sizes: SizeReport) -> catalog_pb2.SizeReport:
    """What a version weighs."""
    return catalog_pb2.SizeReport(
        fp32_bytes=sizes.fp32_bytes,
        int8_bytes=sizes.int8_bytes,
        separate=_levels(sizes.separate_bytes),
        paper_high_bytes=sizes.paper_high_bytes,
        paper_low_bytes=sizes.paper_low_bytes,
        base_bytes=sizes.base_bytes,
        shards=_levels(sizes.shard_bytes),
        metadata_bytes=sizes.metadata_bytes,
        weights=sizes.weights,
        floats=sizes.floats,
    )


def device_message(record: DeviceRecord) -> fleet_pb2.Device:
    """A device with its assignment and its last reported state."""
    message = fleet_pb2.Device(
        device_id=record.device_id,
        online=record.online,
        enrolled_unix_ms=record.enrolled_unix_ms,
        last_seen_unix_ms=record.last_seen_unix_ms,
        agent_version=record.agent_version,
        platform=record.platform,
        assignment_generation=record.assignment_generation,
        memory_budget_bytes=record.memory_budget_bytes,
        transfer_limits=transfer_limits_message(record.transfer_limits),
    )
    for wanted in record.assigned:
        ref = catalog_pb2.VersionRef(model=wanted.model, version=wanted.version)
        message.assigned_versions.add(ref=ref, max_level=wanted.max_level, allow_older=wanted.allow_older)
    if message.assigned_versions:
        message.assigned.CopyFrom(message.assigned_versions[0].ref)
        message.max_level = message.assigned_versions[0].max_level
    state = _state(record.state)
    if state is not None:
        message.state.CopyFrom(state)
    return message


def _state(data: bytes) -> control_pb2.DeviceState | None:
    if not data:
        return None
    try:
        return control_pb2.DeviceState.FromString(data)
    except DecodeError:  # of another release, perhaps; the next report replaces it
        return None


def _levels(sizes_bytes: Mapping[int, int]) -> list[catalog_pb2.LevelSize]:
    return [
        catalog_pb2.LevelSize(level=level, size_bytes=size_bytes)
        for level, size_bytes in sorted(sizes_bytes.items())
    ]
