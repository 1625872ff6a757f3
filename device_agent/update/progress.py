"""Where an update stands, for people: phase, download, and what went wrong last."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from common.errors import Error, ErrorCode
from device_agent.store.records import Release
from device_agent.update.allowance import Limit, TransferHold

# What remains to be done about a version that contradicts itself, where the error does not say.
_DAMAGED: Final = "Push the version again, and assign that one."
_log = logging.getLogger(__name__)
_ADVICE: Final = {ErrorCode.INTEGRITY: _DAMAGED, ErrorCode.MANIFEST_INVALID: _DAMAGED}


class Phase(StrEnum):
    """As ``Phase`` in control.proto says."""

    IDLE = "idle"
    FETCHING = "fetching"
    PROVING = "proving"
    FAILED = "failed"
    WAITING = "waiting"


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a version, or a level of it, is not running."""

    release: Release
    code: str
    detail: str


class Progress:
    """Mutable, on the event loop.

    Args:
        on_change: Called after every change.

    Attributes:
        phase: What the agent does.
        hold: The limit that keeps blobs from coming; None without.
        faults: Model to its newest failure that is not part of the record.
        downloaded: Model to what of it is on disk, at least its base.
        download: Item digest to size, of what the current target needs; empty without.
    """

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self.phase = Phase.IDLE
        self.faults: Mapping[str, Fault] = {}
        self.hold: TransferHold | None = None
        self.downloaded: Mapping[str, Release] = {}
        self.download: dict[str, int] = {}

    def enter(self, phase: Phase) -> None:
        """The agent is in the phase."""
        if phase is not self.phase:
            self.phase = phase
            self._on_change()

    def hold_back(self, hold: TransferHold) -> None:
        """A limit keeps blobs from coming; the log hears of it once."""
        before, self.hold = self.hold, hold
        if before is None or (before.limit, before.until_unix_ms) != (hold.limit, hold.until_unix_ms):
            _log.warning("Transfers are held back by %s: %s", hold.limit, hold.detail)
        if before != hold:
            self._on_change()

    def gate_opened(self) -> None:
        """Blobs may come; whether the disk takes them is seen when they do."""
        if self.hold is not None and self.hold.limit is not Limit.DISK:
            self.go_on()

    def go_on(self) -> None:
        """No limit holds anything back any more."""
        if self.hold is not None:
            _log.info("Transfers go on: %s does not hold them back any more", self.hold.limit)
            self.hold = None
            self._on_change()

    def blame(self, release: Release, error: Error) -> None:
        """The failure is known."""
        fault = fault_of(release, error)
        if fault != self.faults.get(release.model):
            self.faults = {**self.faults, release.model: fault}
            self._on_change()

    def clear(self, model: str = "") -> None:
        """Nothing is wrong any more: with a model, or with any."""
        left = {name: fault for name, fault in self.faults.items() if model and name != model}
        if left != self.faults:
            self.faults = left
            self._on_change()


def fault_of(release: Release, error: Error) -> Fault:
    """The failure in one sentence or two, short enough for a message."""
    detail = str(error) if error.advice else f"{error} {_ADVICE.get(error.code, '')}".strip()
    return Fault(release, error.code.value, detail[:500])
