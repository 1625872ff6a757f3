"""The fleet as the demo watches it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from nestfleet.v1 import fleet_pb2

from benchmarks.demo.boards import LARGEST, Board
from benchmarks.demo.display import Display
from benchmarks.demo.failure import DemoFailure
from benchmarks.demo.inference import MODEL
from benchmarks.demo.processes import Children, log_tail
from benchmarks.demo.views import Views, payload_bytes, views_of
from server.client.fleet import FleetClient

_LOOK_SECONDS: Final = 0.2
_LEDGER_SECONDS: Final = 20.0


class Fleet:
    """Boards, and what the server knows of them.

    Args:
        boards: All that run.
        client: Asks the server.
        children: Watched: none may end.
        display: Shows every look.
    """

    def __init__(
        self, boards: Sequence[Board], client: FleetClient, children: Children, display: Display
    ) -> None:
        self.boards = tuple(boards)
        self.client = client
        self._children = children
        self._display = display

    @property
    def largest(self) -> Board:
        """The one with memory for the full level."""
        return next(board for board in self.boards if board.device_id == LARGEST)

    def look(self) -> Views:
        """What the server knows now; shown too."""
        self._children.check_running()
        views = views_of(list(self.client.list_devices()), self.client.get_savings(MODEL))
        self._display.agents(views)
        return views

    def ledger_of_largest(self) -> fleet_pb2.Savings:
        """What the largest board received by the server's records, once they agree with its own count."""
        board = self.largest
        views = self.wait(
            f"the server's records of {board.device_id} agree with its own to the byte of payload",
            lambda views: payload_bytes(views[board.device_id].moved) == board.endpoint.received_bytes(),
            seconds=_LEDGER_SECONDS,
        )
        return views[board.device_id].moved

    def wait(
        self,
        what: str,
        condition: Callable[[Views], bool],
        *,
        seconds: float = 60.0,
        meanwhile: Callable[[], object] = lambda: None,
    ) -> Views:
        """The first look at which a condition holds.

        Args:
            what: The condition in words.
            condition: Judges a look.
            seconds: How long it may take.
            meanwhile: Called after every look.

        Raises:
            DemoFailure: It did not hold in time, or a process ended.
        """
        deadline = time.monotonic() + seconds
        with self._display.watching():
            while not condition(views := self.look()):
                meanwhile()
                if time.monotonic() > deadline:
                    raise DemoFailure(f"Not within {seconds:.0f} s: {what}.\n{self._said(views)}")
                time.sleep(_LOOK_SECONDS)
        return views

    def _said(self, views: Views) -> str:
        faults = [
            f"{device_id}: {view.phase}, runs {view.running}; {view.state.fault.detail}"
            for device_id, view in views.items()
        ]
        return "\n".join([*faults, *(log_tail(board.child.log) for board in self.boards)])
