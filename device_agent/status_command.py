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
from device_agent.store.records import Release
from device_agent.store.state_file import read_record
from device_agent.store.store import STATE_NAME

_ANSWER_SECONDS: Final = 5.0
_MAX_BYTES: Final = 1024 * 1024


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
    lines += [f"{name:<10} {_version(tree[name])}" for name in ("assigned", "proven")]
    if tree["running"]:
        lines += [
            f"phase      {tree['phase']}",
            f"level      {tree['level'] or '-'}",
            f"memory     {_of(tree, 'resident_bytes', 'memory_budget_bytes')}",
            f"disk       {format_bytes(tree['disk_bytes'])}",
            f"download   {_of(tree, 'fetch_done_bytes', 'fetch_total_bytes')}",
            f"moved      {format_bytes(sum(tree['ledger'].values()))}",
            f"month      {_month(tree)}",
            f"metered    {'yes' if tree['metered'] else 'no'}",
            f"broker     {'connected' if tree['broker_connected'] else 'away'}",
            f"inference  {tree['inference_url']}",
        ]
    if tree.get("hold"):
        lines.append(f"held back  {tree['hold']['limit']}: {tree['hold']['detail']}")
    lines += [f"board      {reason}" for reason in tree.get("board", {}).get("why", [])]
    if tree["fault"]:
        lines.append(f"fault      {tree['fault']['code']}: {tree['fault']['detail']}")
    return "\n".join(lines) + "\n"


def _from_store(store_dir: Path) -> dict[str, Any]:
    record = read_record(store_dir / STATE_NAME)
    failure = record.failure
    return {
        "running": False,
        "device_id": record.device_id,
        "assigned": _tree(record.goal.release if record.goal else None),
        "proven": _tree(record.active.release if record.active else None),
        "fault": {"code": failure.code, "detail": failure.detail, **(_tree(failure.release) or {})}
        if failure
        else None,
    }


def _tree(release: Release | None) -> dict[str, Any] | None:
    return {"model": release.model, "version": release.version} if release else None


def _month(tree: Mapping[str, Any]) -> str:
    budget = tree["transfer_limits"]["monthly_bytes"]
    return format_bytes(tree["month_bytes"]) + (f" of {format_bytes(budget)}" if budget else "")


def _of(tree: Mapping[str, Any], part: str, whole: str) -> str:
    return f"{format_bytes(tree[part])} of {format_bytes(tree[whole])}"


def _version(tree: Mapping[str, Any] | None) -> str:
    return f"{tree['model']}:{tree['version']}" if tree else "-"
