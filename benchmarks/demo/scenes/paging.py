"""One board's memory shrinks and grows again; the wire stays silent, and the board keeps answering."""

from __future__ import annotations

import time
from dataclasses import dataclass

from benchmarks.demo.scenes.stage import Measured, Stage
from benchmarks.demo.views import payload_bytes
from common.byte_sizes import format_bytes


@dataclass(frozen=True, slots=True)
class Paged:
    """What paging cost.

    Attributes:
        evict_wire_bytes: Payload that came from before the cut until the board was measured at the low level.
        page_in_wire_bytes: Received from then until it was measured at the full level again.
        evict_seconds: From the cut until the server knew of the low level.
        page_in_seconds: From the restored budget until the server knew of the full level.
        freed_bytes: Memory that weights gave up.
        before, evicted, restored: How well it answered at these moments.
        answers: Requests answered while it changed; none failed.
    """

    evict_wire_bytes: int
    page_in_wire_bytes: int
    evict_seconds: float
    page_in_seconds: float
    freed_bytes: int
    before: Measured
    evicted: Measured
    restored: Measured
    answers: int


def page(stage: Stage, *, low_budget_bytes: int, full_budget_bytes: int, full: Measured) -> Paged:
    """Cut the largest board's budget to what the lowest level takes, and restore it."""
    pager = _Pager(stage)
    stage.display.scene("Memory gets tight on the gateway")
    stage.display.say(
        f"Something else needs memory: the gateway's weights may take {format_bytes(low_budget_bytes)}."
    )
    before_bytes, full_resident_bytes = pager.payload_bytes(), pager.resident_bytes()
    evict_seconds = pager.change(low_budget_bytes, level=4)
    evicted = pager.measure()
    middle_bytes = pager.payload_bytes()
    freed_bytes = full_resident_bytes - pager.resident_bytes()
    stage.display.result(
        f"it dropped its shards, {format_bytes(freed_bytes)}; payload meanwhile: "
        f"{format_bytes(middle_bytes - before_bytes)}; {evicted.accuracy:.2%} right at 4 bits"
    )
    stage.display.say("The memory is free again: the shards come back from the gateway's own disk.")
    page_in_seconds = pager.change(full_budget_bytes, level=8)
    restored = pager.measure()
    after_bytes = pager.payload_bytes()
    stage.display.result(
        f"it runs at 8 bits again; payload meanwhile: {format_bytes(after_bytes - middle_bytes)}; "
        f"{restored.accuracy:.2%} right; {pager.answers} requests answered meanwhile, none failed"
    )
    return Paged(
        evict_wire_bytes=middle_bytes - before_bytes,
        page_in_wire_bytes=after_bytes - middle_bytes,
        evict_seconds=evict_seconds,
        page_in_seconds=page_in_seconds,
        freed_bytes=freed_bytes,
        before=full,
        evicted=evicted,
        restored=restored,
        answers=pager.answers,
    )


class _Pager:
    """Changes the largest board's budget, and keeps asking it meanwhile."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._board = stage.fleet.largest
        self._image = stage.held_out.images[:1]
        self.answers = 0

    def change(self, budget_bytes: int, *, level: int) -> float:
        """Seconds until the server knows that the board runs at a level under its new budget."""
        start = time.monotonic()
        self._board.set_budget(budget_bytes)
        name = self._board.device_id
        self._stage.fleet.wait(
            f"{name} runs at {level} bits", lambda views: views[name].runs(1, level), meanwhile=self._ask
        )
        return time.monotonic() - start

    def measure(self) -> Measured:
        """How well it answers now."""
        return self._stage.judge(self._board.endpoint.ask_all(self._stage.held_out))

    def payload_bytes(self) -> int:
        """All payload that the board ever received, as board and server agree."""
        return payload_bytes(self._stage.fleet.ledger_of_largest())

    def resident_bytes(self) -> int:
        """Memory that its weights take."""
        return self._stage.fleet.look()[self._board.device_id].state.resident_bytes

    def _ask(self) -> None:
        self._board.endpoint.ask(self._image)
        self.answers += 1
