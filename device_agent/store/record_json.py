"""The record as JSON and back; anything odd is refused, nothing is guessed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Final, TypeVar

from common.digest import is_digest
from common.errors import ConfigError, IntegrityError
from common.names import is_name
from common.quiet_hours import parse_quiet_hours
from common.transfer_limits import NO_LIMITS, MeteredRule, TransferLimits
from device_agent.store.records import (
    AgentRecord,
    Attempt,
    Broker,
    Failure,
    Goal,
    Installed,
    MonthCount,
    Release,
    Slot,
    Traffic,
)
from device_agent.store.records_of_one_model import slots_of_one_model

FORMAT: Final = 2
_Part = TypeVar("_Part")


def encode_record(record: AgentRecord) -> bytes:
    """The file's content."""
    return json.dumps({"format": FORMAT, **asdict(record)}, indent=1, sort_keys=True).encode()


def decode_record(data: bytes) -> AgentRecord:
    """The record that a file's content stands for.

    Raises:
        IntegrityError: It is none.
    """
    try:
        tree = json.loads(data)
        match tree["format"]:
            case 1:
                return _record({**tree, "slots": slots_of_one_model(tree)})
            case 2:
                return _record(tree)
        raise IntegrityError(f"The agent's state has the unknown format {tree['format']!r:.40}.")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, ConfigError) as error:
        raise IntegrityError(f"The agent's state is damaged: {error!r:.200}.") from error


def _record(tree: Mapping[str, Any]) -> AgentRecord:
    device_id, key = tree["device_id"], tree["enrolment_key"]
    if not is_name(device_id) or not is_digest(key):
        raise ValueError("device_id or enrolment_key")
    proven = tree["newest_proven"]
    if not isinstance(proven, dict):
        raise TypeError("newest_proven")
    return AgentRecord(
        device_id=device_id,
        enrolment_key=key,
        broker=_optional(tree["broker"], _broker),
        seen_generation=_integer(tree["seen_generation"]),
        limit_bytes=_integer(tree["limit_bytes"]),
        slots=_slots(tree["slots"]),
        newest_proven={model: _integer(version) for model, version in proven.items()},
        # Releases before these knew neither.
        transfer_limits=_optional(tree.get("transfer_limits"), _transfer_limits) or NO_LIMITS,
        traffic=_optional(tree.get("traffic"), _traffic),
    )


def _slots(trees: Any) -> tuple[Slot, ...]:
    slots = tuple(map(_slot, trees))
    if len({slot.model for slot in slots}) < len(slots):
        raise ValueError("slots of one model")
    return slots


def _slot(tree: Any) -> Slot:
    model = tree["model"]
    if not is_name(model):
        raise ValueError("model")
    slot = Slot(
        model,
        goal=_optional(tree["goal"], _goal),
        active=_optional(tree["active"], _installed),
        previous=_optional(tree["previous"], _installed),
        failure=_optional(tree["failure"], _failure),
        attempt=_optional(tree["attempt"], _attempt),
    )
    named = (slot.goal, slot.active, slot.previous, slot.failure)
    if any(item is not None and item.release.model != model for item in named):
        raise ValueError("a slot with a version of another model")
    return slot


def _optional(tree: Any, make: Callable[[Any], _Part]) -> _Part | None:
    return None if tree is None else make(tree)


def _integer(tree: Any) -> int:
    if not isinstance(tree, int) or isinstance(tree, bool) or tree < 0:
        raise ValueError(f"{tree!r:.40} is no count")
    return tree


def _text(tree: Any) -> str:
    if not isinstance(tree, str):
        raise TypeError(f"{tree!r:.40} is no text")
    return tree


def _release(tree: Any) -> Release:
    model, digest = tree["model"], tree["manifest_digest"]
    if not is_name(model) or not is_digest(digest):
        raise ValueError("model or manifest_digest")
    return Release(model, _integer(tree["version"]), digest, _integer(tree["manifest_size_bytes"]))


def _goal(tree: Any) -> Goal:
    generation, max_level = _integer(tree["generation"]), _integer(tree["max_level"])
    return Goal(
        generation,
        _release(tree["release"]),
        max_level,
        allow_older=tree["allow_older"] is True,
        # Records of one model have none.
        issued_unix_ms=_integer(tree.get("issued_unix_ms", 0)),
    )


def _installed(tree: Any) -> Installed:
    return Installed(_release(tree["release"]), _integer(tree["max_level"]))


def _failure(tree: Any) -> Failure:
    release = _release(tree["release"])
    return Failure(_integer(tree["generation"]), release, _text(tree["code"]), _text(tree["detail"]))


def _attempt(tree: Any) -> Attempt:
    return Attempt(_text(tree["what"]), _integer(tree["count"]))


def _broker(tree: Any) -> Broker:
    return Broker(_text(tree["host"]), _integer(tree["port"]), tree["tls"] is True)


def _transfer_limits(tree: Any) -> TransferLimits:
    metered = _optional(tree["metered"], MeteredRule)
    hours = _text(tree["quiet_hours"])
    if hours:
        parse_quiet_hours(hours)
    return TransferLimits(
        _integer(tree["bandwidth_bytes_per_second"]), _integer(tree["monthly_bytes"]), metered, hours
    )


def _traffic(tree: Any) -> Traffic:
    months = tuple(
        MonthCount(_integer(item["month"]), _integer(item["count_bytes"])) for item in tree["months"]
    )
    if not months:
        raise ValueError("months")
    chunk_bytes = _integer(tree["chunk_bytes"])
    return Traffic(_text(tree["ledger_id"]), _integer(tree["ledger_bytes"]), months, chunk_bytes)
