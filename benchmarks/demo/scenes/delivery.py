"""Version 1 reaches the fleet: boards serve from the base, then take the shards they have memory for."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from nestfleet.v1 import fleet_pb2

from benchmarks.demo.scenes.stage import Measured, Stage
from benchmarks.demo.views import Views


@dataclass(frozen=True, slots=True)
class Delivered:
    """What the first delivery moved, and how soon it paid.

    Attributes:
        moved: The ledger of the largest board, as the server recorded it.
        measured: Level to how well it answers over HTTP.
        start_to_answer_seconds: Device id to the seconds from process start to the first version that could
            answer, as the agent reported it.
        assign_to_answer_seconds: Device id to the seconds from assignment to the first answer over HTTP.
        answers_while_lifting: Requests answered after the first answers, until all ran at their level.
        assign_to_full_seconds: From assignment until the largest board ran at the full level.
    """

    moved: fleet_pb2.Savings
    measured: Mapping[str, Measured]
    start_to_answer_seconds: Mapping[str, float]
    assign_to_answer_seconds: Mapping[str, float]
    answers_while_lifting: int
    assign_to_full_seconds: float


def deliver(stage: Stage) -> Delivered:
    """Assign version 1 and watch it arrive."""
    display = stage.display
    display.scene("The fleet receives version 1")
    display.say(
        "The boards fetch the small base first and answer from it; shards lift them while they answer."
    )
    stage.assign(1)
    answered = _FirstAnswers(stage)
    views = _wait_for_levels(stage, answered)
    full_seconds, further = answered.seconds, answered.answers - len(answered.found)
    for name, seconds in answered.found.items():
        display.result(f"{name} gave its first answer over HTTP {seconds:.1f} s after the assignment")
    display.result(f"the gateway ran at 8 bits after {full_seconds:.1f} s")
    display.result(f"{further} more requests were answered while shards arrived; none failed")
    return Delivered(
        moved=stage.fleet.ledger_of_largest(),
        measured=stage.measure(1),
        start_to_answer_seconds={name: view.state.first_inference_seconds for name, view in views.items()},
        assign_to_answer_seconds=answered.found,
        answers_while_lifting=further,
        assign_to_full_seconds=full_seconds,
    )


def _wait_for_levels(stage: Stage, answered: _FirstAnswers) -> Views:
    levels = {board.device_id: board.level for board in stage.fleet.boards}
    return stage.fleet.wait(
        "every board answers, and runs version 1 at its level",
        lambda views: answered.look() and all(views[name].runs(1, level) for name, level in levels.items()),
    )


class _FirstAnswers:
    """Notes when each board first answers a real request, and holds it to answering from then on."""

    def __init__(self, stage: Stage) -> None:
        self._boards = stage.fleet.boards
        self._image = stage.held_out.images[:1]
        self._start = time.monotonic()
        self.found: dict[str, float] = {}
        self.answers = 0

    @property
    def seconds(self) -> float:
        """Since the assignment."""
        return time.monotonic() - self._start

    def look(self) -> bool:
        """Whether all have answered by now."""
        for board in self._boards:
            if board.device_id in self.found or board.endpoint.answers():
                board.endpoint.ask(self._image)
                self.answers += 1
                self.found.setdefault(board.device_id, self.seconds)
        return len(self.found) == len(self._boards)
