"""MQTT payloads from the server, taken on no trust: what does not fit is InvalidInputError. Pure."""

from __future__ import annotations

from typing import Final

from google.protobuf.message import DecodeError
from nestfleet.v1 import control_pb2

from common.assigned_set import MAX_MODELS, check_models
from common.channel import MAX_MANIFEST_BYTES
from common.digest import from_wire
from common.errors import InvalidInputError
from common.names import check_name
from common.nesting import MAX_LEVEL
from common.transfer_limits import NO_LIMITS, TransferLimits, read_transfer_limits
from device_agent.store.records import Goal, Release

MAX_PAYLOAD_BYTES: Final = 64 * 1024
_MAX_VERSION: Final = 0x7FFFFFFF
_MAX_COUNT: Final = 1 << 62


def read_goals(payload: bytes, device_id: str) -> tuple[Goal, ...]:
    """What the server wants, one goal of each model; empty when it wants nothing.

    Raises:
        InvalidInputError: The payload is none of ours, or speaks to another device.
    """
    if not payload:
        return ()
    message = control_pb2.Assignment()
    _parse(message, payload)
    _check_receiver(message.device_id, device_id)
    if not 1 <= message.generation <= _MAX_COUNT:
        raise InvalidInputError("The assignment has no usable generation.")
    if len(message.further) >= MAX_MODELS:
        raise InvalidInputError(f"The assignment has more than {MAX_MODELS} models.")
    first = _goal(message, message.generation)
    goals = (first, *(_goal(wanted, message.generation) for wanted in message.further))
    check_models([goal.release.model for goal in goals])
    return goals


def _goal(wanted: control_pb2.Assignment | control_pb2.FurtherVersion, generation: int) -> Goal:
    check_name(wanted.ref.model, what="model")
    if not 1 <= wanted.ref.version <= _MAX_VERSION:
        raise InvalidInputError("The assignment has no usable version.")
    if not 1 <= wanted.manifest_size_bytes <= MAX_MANIFEST_BYTES or wanted.max_level > MAX_LEVEL:
        raise InvalidInputError("The assignment leaves the limits of a manifest's size or of a level.")
    digest = from_wire(wanted.manifest_digest)
    release = Release(wanted.ref.model, wanted.ref.version, digest, wanted.manifest_size_bytes)
    return Goal(
        generation,
        release,
        wanted.max_level,
        allow_older=wanted.allow_older,
        issued_unix_ms=min(wanted.issued_unix_ms, _MAX_COUNT),
    )


def read_limits(payload: bytes, device_id: str) -> tuple[int, int, TransferLimits]:
    """Generation, memory budget in bytes and limits of transfer; each empty where the operator sets none.

    Raises:
        InvalidInputError: The payload is none of ours, speaks to another device, or a limit is absurd.
    """
    if not payload:
        return 0, 0, NO_LIMITS
    message = control_pb2.Limits()
    _parse(message, payload)
    _check_receiver(message.device_id, device_id)
    if max(message.generation, message.memory_budget_bytes) > _MAX_COUNT:
        raise InvalidInputError("The limits are absurd.")
    return message.generation, message.memory_budget_bytes, read_transfer_limits(message.transfer)


def _parse(message: control_pb2.Assignment | control_pb2.Limits, payload: bytes) -> None:
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise InvalidInputError(f"{len(payload)} bytes are more than {MAX_PAYLOAD_BYTES}.")
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise InvalidInputError(f"The payload is no {type(message).__name__}.") from error


def _check_receiver(named: str, device_id: str) -> None:
    if named != device_id:
        raise InvalidInputError(f"The payload speaks to {named[:80]!r}.")
