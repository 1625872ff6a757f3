"""Records of releases that knew one model at a time, as the slots that stand for them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_EMPTY: Final = {"goal": None, "active": None, "previous": None, "failure": None, "attempt": None}


def slots_of_one_model(tree: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The slots of a record of format 1, still as JSON; what is odd in it stays odd.

    The goal's model comes first. What ran before another model took its place is that model's to return to.
    """
    slots: dict[Any, dict[str, Any]] = {}

    def slot_of(item: Mapping[str, Any]) -> dict[str, Any]:
        model = item["release"]["model"]
        return slots.setdefault(model, {"model": model, **_EMPTY})

    goal, active, previous = tree["goal"], tree["active"], tree["previous"]
    if goal is not None:
        slot_of(goal)["goal"] = goal
    if active is not None:
        slot_of(active)["active"] = active
    if previous is not None:
        slot = slot_of(previous)
        slot["active" if slot["active"] is None else "previous"] = previous
    failure, attempt = tree["failure"], tree["attempt"]
    if failure is not None and failure["release"]["model"] in slots:
        slot_of(failure)["failure"] = failure
    if attempt is not None and slots:
        _attempted(slots, attempt)["attempt"] = attempt
    return list(slots.values())


def _attempted(slots: Mapping[Any, dict[str, Any]], attempt: Mapping[str, Any]) -> dict[str, Any]:
    """The slot that has the version which was being loaded; the first where none has."""
    digest = attempt["what"].partition(" ")[0]
    for slot in slots.values():
        versions = [slot[name] for name in ("goal", "active", "previous") if slot[name] is not None]
        if digest in [item["release"]["manifest_digest"] for item in versions]:
            return slot
    return next(iter(slots.values()))
