"""What the server wants of a device, as the retained messages that say so."""

from __future__ import annotations

from nestfleet.v1 import catalog_pb2, control_pb2

from common.digest import to_wire
from common.topics import Topic, topic_for
from common.transfer_limits import transfer_limits_message
from server.registry.records import AssignmentRecord, DeviceRecord


def goals(device: DeviceRecord) -> dict[str, bytes]:
    """Topic to payload, for what is wanted of a device; a topic on which nothing is wanted gets no bytes."""
    return {
        topic_for(device.device_id, Topic.ASSIGNMENT): _assignment(device),
        topic_for(device.device_id, Topic.LIMITS): _limits(device),
    }


def no_goals(device_id: str) -> dict[str, bytes]:
    """Topics whose retained messages go when a device is forgotten, its reports of the moment included."""
    topics = (Topic.ASSIGNMENT, Topic.LIMITS, Topic.STATE, Topic.PRESENCE)
    return {topic_for(device_id, topic): b"" for topic in topics}


def _assignment(device: DeviceRecord) -> bytes:
    if not device.assigned:
        return b""
    wanted, *further = device.assigned
    return control_pb2.Assignment(
        device_id=device.device_id,
        generation=device.assignment_generation,
        ref=catalog_pb2.VersionRef(model=wanted.model, version=wanted.version),
        manifest_digest=to_wire(wanted.manifest_digest),
        manifest_size_bytes=wanted.manifest_size_bytes,
        max_level=wanted.max_level,
        allow_older=wanted.allow_older,
        issued_unix_ms=wanted.issued_unix_ms,
        further=[_further(other) for other in further],
    ).SerializeToString()


def _further(wanted: AssignmentRecord) -> control_pb2.FurtherVersion:
    return control_pb2.FurtherVersion(
        ref=catalog_pb2.VersionRef(model=wanted.model, version=wanted.version),
        manifest_digest=to_wire(wanted.manifest_digest),
        manifest_size_bytes=wanted.manifest_size_bytes,
        max_level=wanted.max_level,
        allow_older=wanted.allow_older,
        issued_unix_ms=wanted.issued_unix_ms,
    )


def _limits(device: DeviceRecord) -> bytes:
    if not device.limits_generation:
        return b""
    return control_pb2.Limits(
        device_id=device.device_id,
        generation=device.limits_generation,
        memory_budget_bytes=device.memory_budget_bytes,
        transfer=transfer_limits_message(device.transfer_limits),
    ).SerializeToString()
