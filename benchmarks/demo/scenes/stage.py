"""What every scene works with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from benchmarks.demo.digits import Split
from benchmarks.demo.display import Display
from benchmarks.demo.failure import DemoFailure
from benchmarks.demo.fleet import Fleet
from benchmarks.demo.folders import ACCEPTANCE
from benchmarks.demo.inference import MODEL, Measured
from benchmarks.demo.operating import Operator
from server.client.fleet import FleetClient, VersionDetail

MIN_AGREEMENT: Final = 0.9


@dataclass(frozen=True, slots=True)
class Stage:
    """A running fleet, an operator, the data and the audience."""

    fleet: Fleet
    operator: Operator
    split: Split
    display: Display

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

    def measure(self, version: int) -> Mapping[str, float]:
        """Level to accuracy on the held-out images, answered by the board of that level over HTTP.

        Raises:
            DemoFailure: A board answered with another version or level.
        """
        accuracy: dict[str, float] = {}
        for board in self.fleet.boards:
            measured = board.endpoint.measure(self.split.held_out)
            _check(measured, version, board.level, board.device_id)
            accuracy[str(board.level)] = measured.accuracy
            self.display.result(
                f"{board.device_id} answers {len(self.split.held_out)} unseen images over HTTP at "
                f"{board.level} bits: {measured.accuracy:.2%} right"
            )
        return accuracy


def push(operator: Operator, client: FleetClient, version: int) -> VersionDetail:
    """The version that the command line published, with the acceptance samples."""
    operator.run(
        "push", f"benchmarks.demo.versions:version_{version}", "--name", MODEL, "--levels", "4,6,8",
        "--acceptance", str(ACCEPTANCE), "--min-agreement", str(MIN_AGREEMENT),
    )  # fmt: skip
    return client.get_version(MODEL, version)


def _check(measured: Measured, version: int, level: int, device_id: str) -> None:
    if (measured.version, measured.level) != (version, level):
        raise DemoFailure(
            f"{device_id} answered with version {measured.version} at {measured.level} bits, "
            f"not with version {version} at {level} bits."
        )
