"""MQTT topics. Each carries one message type of ``control.proto``."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from common.names import is_name

_ROOT: Final = "nestfleet/v1/devices"


class Topic(StrEnum):
    """The last word of a topic, and with it the message type."""

    ASSIGNMENT = "assignment"  # Assignment, server to device, retained
    LIMITS = "limits"  # Limits, server to device, retained
    STATE = "state"  # DeviceState, device to server, retained
    PRESENCE = "presence"  # Presence, device to server, retained, last will
    LEDGER = "ledger"  # LedgerReport, device to server, retained


_BY_WORD: Final = {topic.value: topic for topic in Topic}


@dataclass(frozen=True, slots=True)
class DeviceTopic:
    """A parsed topic."""

    device_id: str
    topic: Topic


def topic_for(device_id: str, topic: Topic) -> str:
    """The full topic of one device."""
    return f"{_ROOT}/{device_id}/{topic.value}"


def subscription(topic: Topic) -> str:
    """The filter that matches the topic for every device."""
    return f"{_ROOT}/+/{topic.value}"


def parse_topic(text: str) -> DeviceTopic | None:
    """The device and kind that a topic names; None for a topic that is not ours."""
    parts = text.split("/")
    if len(parts) != 5 or "/".join(parts[:3]) != _ROOT or not is_name(parts[3]):  # noqa: PLR2004
        return None
    topic = _BY_WORD.get(parts[4])
    return DeviceTopic(parts[3], topic) if topic else None
