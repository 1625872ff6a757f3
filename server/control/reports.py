"""What a device's MQTT message says; anything may arrive, so nothing is taken on trust."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError
from nestfleet.v1 import catalog_pb2, control_pb2

from common.assigned_set import MAX_MODELS
from common.errors import InvalidInputError
from common.names import is_name
from common.topics import Topic, parse_topic

MAX_PAYLOAD_BYTES: Final = 256 * 1024
_MAX_VERSION: Final = 0x7FFFFFFF
# Those that are assigned, and those that still answer until one of them does.
_MOST_MODELS: Final = 2 * MAX_MODELS

Report = control_pb2.DeviceState | control_pb2.Presence | control_pb2.LedgerReport

_MESSAGES: Final[dict[Topic, type[Report]]] = {
    Topic.STATE: control_pb2.DeviceState,
    Topic.PRESENCE: control_pb2.Presence,
    Topic.LEDGER: control_pb2.LedgerReport,
}
REPORT_TOPICS: Final = tuple(_MESSAGES)


def read_report(topic: str, payload: bytes) -> Report | None:
    """The report in a message; None for a retained message that was taken away.

    Raises:
        InvalidInputError: The topic is no report's, the payload is too large, does not parse, or speaks for
            another device than the topic.
    """
    place = parse_topic(topic)
    if place is None or place.topic not in _MESSAGES:
        raise InvalidInputError("No report belongs on this topic.")
    if not payload:
        return None
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvalidInputError(f"{len(payload)} bytes are more than {MAX_PAYLOAD_BYTES}.")
    report = _MESSAGES[place.topic]()
    try:
        report.ParseFromString(payload)
    except DecodeError as error:
        raise InvalidInputError(f"The payload is no {type(report).__name__}.") from error
    if report.device_id != place.device_id:
        raise InvalidInputError(f"The payload speaks for {report.device_id[:80]!r}.")
    return report


def version_named(ref: catalog_pb2.VersionRef) -> tuple[str, int] | None:
    """Model and number that a device names; None when it names none, or one that cannot be."""
    if not is_name(ref.model) or not 1 <= ref.version <= _MAX_VERSION:
        return None
    return ref.model, ref.version


def versions_named(state: control_pb2.DeviceState) -> list[tuple[str, int]]:
    """What a device names as proven of each of its models; at most so many as it may run at once."""
    named = (version_named(model.proven) for model in state.models[:_MOST_MODELS])
    return [version for version in named if version is not None]
