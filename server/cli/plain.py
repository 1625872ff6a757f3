"""Wire messages as plain JSON values, for --json."""

from __future__ import annotations

import math
from typing import Any

from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message


def plain(message: Message) -> dict[str, Any]:
    """All fields of a message under their names in the .proto files.

    Integers are numbers, bytes are hex digits, enums are lower-case words without their type's name, and a
    message that is not set, as a number that JSON cannot carry, is None.
    """
    fields: Any = message.DESCRIPTOR.fields
    return {field.name: _field(message, field) for field in fields}


def _field(message: Message, field: FieldDescriptor) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return [_value(field, item) for item in value]
    if field.message_type is not None and not message.HasField(field.name):
        return None
    return _value(field, value)


def _value(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if field.enum_type is not None:
        return _word(field.enum_type, value)
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _word(enum: EnumDescriptor, number: int) -> str:
    """``PHASE_IDLE`` of ``Phase`` is "idle"; a number that this release does not know stays one."""
    known = enum.values_by_number.get(number)
    shared_prefix = enum.values[0].name.removesuffix("UNSPECIFIED")
    return str(known.name).removeprefix(shared_prefix).lower() if known else str(number)
