"""What the agent on a store does, asked of the agent; or, with none running, read from the store."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from common.byte_sizes import format_bytes
from common.errors import NotFoundError
from device_agent.app import ENDPOINT_NAME
from device_agent.store.records import Slot
from device_agent.store.state_file import read_record
from device_agent.store.store import STATE_NAME
from device_agent.update.model_status import fault_tree, release_tree
from device_agent.update.progress import Fault

_ANSWER_SECONDS: Final = 5.0
_MAX_BYTES: Final = 1024 * 1024
_NOTHING: Final = {"assigned": None, "proven": None, "level": 0, "resident_bytes": 0, "fault": None}


def read_status(store_dir: Path) -> dict[str, Any]:
    """The status; ``running`` says whether an agent gave it.

    Raises:
        NotFoundError: There is no store.
        IntegrityError: It is damaged.
    """
    if not (store_dir / STATE_NAME).exists():
        raise NotFoundError(f"There is no agent's store in {store_dir}.", advice="Name one with --store-dir.")
    try:
        url = json.loads((store_dir / ENDPOINT_NAME).read_bytes())["http"]
        with urllib.request.urlopen(f"{url}/nestfleet/status", timeout=_ANSWER_SECONDS) as answer:  # noqa: S310
            return {"running": True, **json.loads(answer.read(_MAX_BYTES))}
    except (OSError, ValueError, KeyError, urllib.error.URLError):
        return _from_store(store_dir)


def format_status(tree: Mapping[str, Any]) -> str:
    """The status for people, one fact a line."""
    lines = [f"device     {tree['device_id']}", f"running    {'yes' if tree['running'] else 'no'}"]
    models = tree["models"] or [_NOTHING]
    if tree["running"]:
        lines += [line for model in models for line in _model_lines(model)]
        resident_bytes = sum(model["resident_bytes"] for model in models)
        lines += [
            f"phase      {tree['phase']}",
            f"memory     {format_bytes(resident_bytes)} of {format_bytes(tree['memory_budget_bytes'])}",
            f"disk       {format_bytes(tree['disk_bytes'])}",
            f"download   {_of(tree, 'fetch_done_bytes', 'fetch_total_bytes')}",
            f"moved      {format_bytes(sum(tree['ledger'].values()))}",
            f"month      {_month(tree)}",
            f"metered    {'yes' if tree['metered'] else 'no'}",
            f"broker     {'connected' if tree['broker_connected'] else 'away'}",
            f"inference  {tree['inference_url']}",
            f"process    {format_bytes(tree['rss_bytes'])}, answered after {tree['start_seconds']:.2f} s",
        ]
    else:
        lines += [line for model in models for line in _version_lines(model)]
    if tree.get("hold"):
        lines.append(f"held back  {tree['hold']['limit']}: {tree['hold']['detail']}")
    lines += [f"board      {reason}" for reason in tree.get("board", {}).get("why", [])]
    faults = [model["fault"] for model in models if model["fault"]]
    lines += [f"fault      {_version(fault)}: {fault['code']}: {fault['detail']}" for fault in faults]
    return "\n".join(lines) + "\n"


def _model_lines(model: Mapping[str, Any]) -> list[str]:
    return [*_version_lines(model), f"level      {model['level'] or '-'}"]


def _version_lines(model: Mapping[str, Any]) -> list[str]:
    return [f"{name:<10} {_version(model[name])}" for name in ("assigned", "proven")]


def _from_store(store_dir: Path) -> dict[str, Any]:
    record = read_record(store_dir / STATE_NAME)
    models = [_model(slot) for slot in record.slots if slot.goal or not record.goals]
    return {
        "running": False,
        "device_id": record.device_id,
        **(_NOTHING if not models else models[0]),
        "models": models,
    }


def _model(slot: Slot) -> dict[str, Any]:
    failure = slot.failure
    return {
        "assigned": release_tree(slot.goal.release if slot.goal else None),
        "proven": release_tree(slot.active.release if slot.active else None),
        "fault": fault_tree(Fault(failure.release, failure.code, failure.detail)) if failure else None,
    }


def _month(tree: Mapping[str, Any]) -> str:
    budget = tree["transfer_limits"]["monthly_bytes"]
    return format_bytes(tree["month_bytes"]) + (f" of {format_bytes(budget)}" if budget else "")


def _of(tree: Mapping[str, Any], part: str, whole: str) -> str:
    return f"{format_bytes(tree[part])} of {format_bytes(tree[whole])}"


def _version(tree: Mapping[str, Any] | None) -> str:
    return f"{tree['model']}:{tree['version']}" if tree else "-"
