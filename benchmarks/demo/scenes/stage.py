"""What every scene works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.demo.boards import Board
from benchmarks.demo.digits import Samples
from benchmarks.demo.display import Display
from benchmarks.demo.failure import DemoFailure
from benchmarks.demo.fleet import Fleet
from benchmarks.demo.folders import ACCEPTANCE
from benchmarks.demo.inference import MODEL, Answer
from benchmarks.demo.operating import Operator
from benchmarks.demo.scenes.preparation import Trained
from benchmarks.demo.scoring import accuracy, relative_error
from common.byte_sizes import format_bytes
from server.client.fleet import FleetClient, VersionDetail

MIN_AGREEMENT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Measured:
    """How well held-out images were answered.

    Attributes:
        accuracy: Share that is right, 0..1.
        output_error: Distance to the outputs in FP32, relative to their norm.
    """

    accuracy: float
    output_error: float


@dataclass(frozen=True, slots=True)
class Stage:
    """A running fleet, an operator, the data and the audience."""

    fleet: Fleet
    operator: Operator
    trained: Trained
    display: Display

    @property
    def held_out(self) -> Samples:
        """What accuracy is measured on."""
        return self.trained.split.held_out

    def assign(self, version: int) -> None:
        """Every board shall run a version."""
        self.operator.run("assign", f"{MODEL}:{version}", "--all")

    def wait_until_all_run(self, version: int) -> None:
        """Return when every board serves a version at the level for which it has memory."""
        levels = {board.device_id: board.level for board in self.fleet.boards}
        self.fleet.wait(
            f"all boards run version {version} at their level",
            lambda views: all(views[name].runs(version, level) for name, level in levels.items()),
        )

    def measure(self, version: int) -> Mapping[str, Measured]:
        """Level to how well the board of that level answers the held-out images over HTTP.

        Raises:
            DemoFailure: A board answered with another version or level.
        """
        return {str(board.level): self._measure(board, version) for board in self.fleet.boards}

    def _measure(self, board: Board, version: int) -> Measured:
        answer = board.endpoint.ask_all(self.held_out)
        _check(answer, version, board)
        measured = self.judge(answer)
        self.display.result(
            f"{board.device_id:<8} answers {len(self.held_out)} unseen images by HTTP at {board.level} bits: "
            f"{measured.accuracy:.2%} right, outputs {measured.output_error:.2%} off the 32-bit floats"
        )
        return measured

    def judge(self, answer: Answer) -> Measured:
        """How good an answer to the held-out images is."""
        return Measured(
            accuracy(answer.outputs, self.held_out.labels),
            relative_error(answer.outputs, self.trained.outputs[answer.version]),
        )


def push(operator: Operator, client: FleetClient, version: int, display: Display) -> VersionDetail:
    """The version that the command line published, with the acceptance samples."""
    operator.run(
        "push", f"benchmarks.demo.versions:version_{version}", "--name", MODEL, "--levels", "4,6,8",
        "--acceptance", str(ACCEPTANCE), "--min-agreement", str(MIN_AGREEMENT),
    )  # fmt: skip
    detail = client.get_version(MODEL, version)
    sizes = detail.version.sizes
    full_bytes = sizes.base_bytes + sum(shard.size_bytes for shard in sizes.shards)
    display.result(
        f"version {version} is {format_bytes(sizes.fp32_bytes)} as 32-bit floats; nested: base "
        f"{format_bytes(sizes.base_bytes)}, with all shards {format_bytes(full_bytes)}"
    )
    return detail


def _check(answer: Answer, version: int, board: Board) -> None:
    if (answer.version, answer.level) != (version, board.level):
        raise DemoFailure(
            f"{board.device_id} answered with version {answer.version} at {answer.level} bits, "
            f"not with version {version} at {board.level} bits."
        )
