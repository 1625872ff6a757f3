"""Version 1 reaches the fleet: boards serve from the base, then take the shards they have memory for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from nestfleet.v1 import catalog_pb2, fleet_pb2

from benchmarks.demo.scenes.stage import Stage
from benchmarks.demo.views import Views
from common.byte_sizes import format_bytes

_LEDGER_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the first delivery moved, and how soon it paid.

    Attributes:
        moved: The ledger of the largest board, as the server recorded it.
        accuracy: Level to accuracy over HTTP.
        start_to_answer_seconds: Device id to the seconds from process start to the first version that could
            answer, as the agent reported it.
        assign_to_answer_seconds: Device id to the seconds from assignment to the first answer over HTTP.
        assign_to_full_seconds: From assignment until the largest board ran at the full level.
    """

    moved: fleet_pb2.Savings
    accuracy: Mapping[str, float]
    start_to_answer_seconds: Mapping[str, float]
    assign_to_answer_seconds: Mapping[str, float]
    assign_to_full_seconds: float


def deliver(stage: Stage, sizes: catalog_pb2.SizeReport) -> Delivered:
    """Assign version 1 and watch it arrive."""
    display = stage.display
    display.scene("The fleet receives version 1")
    display.say(
        "The boards fetch the small base first and answer from it; shards lift them while they answer."
    )
    stage.assign(1)
    answered = _FirstAnswers(stage)
    views = _wait_for_levels(stage, answered)
    full_seconds = answered.seconds
    for name, seconds in answered.found.items():
        display.result(f"{name} gave its first answer over HTTP {seconds:.1f} s after the assignment")
    display.result(f"the gateway ran at 8 bits after {full_seconds:.1f} s, and answered all the while")
    return Delivered(
        moved=_wait_for_ledger(stage, sizes),
        accuracy=stage.measure(1),
        start_to_answer_seconds={name: view.state.first_inference_seconds for name, view in views.items()},
        assign_to_answer_seconds=answered.found,
        assign_to_full_seconds=full_seconds,
    )


def _wait_for_levels(stage: Stage, answered: _FirstAnswers) -> Views:
    levels = {board.device_id: board.level for board in stage.fleet.boards}
    return stage.fleet.wait(
        "every board answers, and runs version 1 at its level",
        lambda views: answered.look() and all(views[name].runs(1, level) for name, level in levels.items()),
    )


def _wait_for_ledger(stage: Stage, sizes: catalog_pb2.SizeReport) -> fleet_pb2.Savings:
    """The largest board's ledger, once its report accounts for all that version 1 names."""
    named_bytes = sizes.base_bytes + sum(shard.size_bytes for shard in sizes.shards)
    largest = stage.fleet.largest.device_id
    views = stage.fleet.wait(
        f"the ledger of {largest} accounts for {format_bytes(named_bytes)}",
        lambda views: views[largest].moved.base_bytes + views[largest].moved.shard_bytes >= named_bytes,
        seconds=_LEDGER_SECONDS,
    )
    return views[largest].moved


class _FirstAnswers:
    """Notes when each board first answers a real request."""

    def __init__(self, stage: Stage) -> None:
        self._boards = stage.fleet.boards
        self._image = stage.split.held_out.images[:1]
        self._start = time.monotonic()
        self.found: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        """Since the assignment."""
        return time.monotonic() - self._start

    def look(self) -> bool:
        """Whether all have answered by now."""
        for board in self._boards:
            if board.device_id not in self.found and board.endpoint.answers():
                board.endpoint.ask(self._image)
                self.found[board.device_id] = self.seconds
        return len(self.found) == len(self._boards)
