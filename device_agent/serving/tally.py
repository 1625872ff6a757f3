"""What was asked and answered since the agent began, by model: for the protocol's statistics. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from device_agent.serving.queueing.running import Queued, Run

_NANOSECONDS: Final = 1_000_000_000


@dataclass(slots=True)
class _Spent:
    """How often something was done, and how long it took in all."""

    count: int = 0
    seconds: float = 0.0

    def add(self, seconds: float) -> None:
        self.count += 1
        self.seconds += seconds

    def tree(self) -> dict[str, int]:
        return {"count": self.count, "ns": round(self.seconds * _NANOSECONDS)}


@dataclass(slots=True)
class Tally:
    """Counts of one version."""

    last_unix_ms: int = 0
    rows: int = 0
    success: _Spent = field(default_factory=_Spent)
    fail: _Spent = field(default_factory=_Spent)
    queue: _Spent = field(default_factory=_Spent)
    infer: _Spent = field(default_factory=_Spent)
    batches: dict[int, _Spent] = field(default_factory=dict)

    def answered(self, queued: Queued, *, rows: int, seconds: float, unix_ms: int) -> None:
        """A request has its answer."""
        self.last_unix_ms = unix_ms
        self.rows += rows
        self.success.add(seconds)
        self.queue.add(queued.waited_seconds)
        self.infer.add(queued.ran_seconds)

    def failed(self, seconds: float) -> None:
        """A request has none."""
        self.fail.add(seconds)

    def ran(self, runs: Sequence[Run]) -> None:
        """The model was called."""
        for run in runs:
            self.batches.setdefault(run.rows, _Spent()).add(run.seconds)

    def tree(self, model: str, version: int) -> dict[str, Any]:
        """The statistics in Triton's form."""
        return {
            "name": model,
            "version": str(version),
            "last_inference": self.last_unix_ms,
            "inference_count": self.rows,
            "execution_count": sum(spent.count for spent in self.batches.values()),
            "inference_stats": {
                "success": self.success.tree(),
                "fail": self.fail.tree(),
                "queue": self.queue.tree(),
                "compute_infer": self.infer.tree(),
            },
            "batch_stats": [
                {"batch_size": rows, "compute_infer": spent.tree()}
                for rows, spent in sorted(self.batches.items())
            ],
        }
