"""Following an assignment until every device runs it or has refused it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from enum import Enum
from types import TracebackType
from typing import Final, Self

from nestfleet.v1 import control_pb2, fleet_pb2
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from common.byte_sizes import format_bytes
from common.errors import LinkError
from server.cli.device_models import device_models, faults
from server.cli.limits_view import hold_text
from server.cli.output import notices, printable
from server.cli.wording import version_name

_POLL_SECONDS: Final = 0.25


class Outcome(Enum):
    """How an assignment stands on one device."""

    PENDING = "pending"
    RUNS = "runs"
    REFUSED = "refused"


def outcome(device: fleet_pb2.Device) -> Outcome:
    """How the device's newest assignment stands, by its last report."""
    state = device.state
    if state.assignment_generation < device.assignment_generation:
        return Outcome.PENDING
    if state.phase == control_pb2.PHASE_FAILED or _knows_one_model(device):
        return Outcome.REFUSED
    runs = all(model.assigned == model.state.proven for model in device_models(device))
    return Outcome.RUNS if runs and state.phase == control_pb2.PHASE_IDLE else Outcome.PENDING


def follow(
    ask: Callable[[], Sequence[fleet_pb2.Device]], device_ids: Sequence[str], *, timeout_seconds: float
) -> Sequence[fleet_pb2.Device]:
    """The devices once none of them is pending; bars on stderr meanwhile. A server that is away is awaited.

    Args:
        ask: Gives all devices.
        device_ids: Which of them to follow; one that is forgotten meanwhile is dropped.
        timeout_seconds: How long to wait.

    Raises:
        LinkError: Some are still pending at the end of that time.
    """
    deadline = time.monotonic() + timeout_seconds
    followed: list[fleet_pb2.Device] = []
    with _Bars() as bars:
        while time.monotonic() < deadline:
            try:
                followed = [device for device in ask() if device.device_id in device_ids]
            except LinkError as error:
                bars.away(error)
            else:
                bars.show(followed)
                if all(outcome(device) is not Outcome.PENDING for device in followed):
                    return followed
            time.sleep(_POLL_SECONDS)
    pending = [item.device_id for item in followed if outcome(item) is Outcome.PENDING] or list(device_ids)
    raise LinkError(
        f"After {timeout_seconds:g} s these are not settled: {', '.join(pending)}.",
        advice="They go on by themselves; look with `nestfleet devices`.",
    )


class _Bars:
    """A bar per device on a terminal, elsewhere a line per device that settles."""

    def __init__(self) -> None:
        self._console = notices()
        self._live = self._console.is_terminal
        self._tasks: dict[str, TaskID] = {}
        self._said: set[str] = set()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            TextColumn("{task.fields[standing]}"),
            TimeElapsedColumn(),
            console=self._console,
            disable=not self._live,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def away(self, error: LinkError) -> None:
        for task in self._tasks.values():
            self._progress.update(task, standing=printable(error.message)[:60])

    def show(self, devices: Sequence[fleet_pb2.Device]) -> None:
        for device in devices:
            self._draw(device)
            settled = outcome(device) is not Outcome.PENDING
            if settled and not self._live and device.device_id not in self._said:
                self._said.add(device.device_id)
                self._console.print(f"{device.device_id}: {_standing(device)}", soft_wrap=True)

    def _draw(self, device: fleet_pb2.Device) -> None:
        if device.device_id not in self._tasks:
            task = self._progress.add_task(printable(device.device_id), total=None, standing="")
            self._tasks[device.device_id] = task
        done, total = (1, 1) if outcome(device) is not Outcome.PENDING else _fetched(device)
        self._progress.update(
            self._tasks[device.device_id], completed=done, total=total or None, standing=_standing(device)
        )


def _knows_one_model(device: fleet_pb2.Device) -> bool:
    """Whether several are assigned to an agent of a release that passes over all but the first."""
    return len(device.assigned_versions) > 1 and not device.state.models


def _fetched(device: fleet_pb2.Device) -> tuple[int, int]:
    if device.state.assignment_generation < device.assignment_generation:
        return 0, 0
    return device.state.fetch_done_bytes, device.state.fetch_total_bytes


def _standing(device: fleet_pb2.Device) -> str:
    state = device.state
    match outcome(device):
        case Outcome.RUNS:
            running = [model.state for model in device_models(device)]
            named = [f"{version_name(model.proven)} at {model.level} bits" for model in running]
            return printable(f"runs {', '.join(named)}")
        case Outcome.REFUSED if _knows_one_model(device):
            return "refused: its agent runs one model at a time; install this release of it"
        case Outcome.REFUSED:
            return printable(f"refused: {' '.join(fault.detail for fault in faults(state))}")
        case Outcome.PENDING:
            if not device.online:
                return "away"
            if state.HasField("hold"):
                return f"held back by {hold_text(state.hold)}"
            done, total = _fetched(device)
            return f"{format_bytes(done)} of {format_bytes(total)}" if total else "assigned"
