"""Two versions of a model, as floats."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.quantize.tasks.task import Task


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """A model before and after.

    Attributes:
        name: Model, and what happened to its weights.
        before, after: The two; both measured against their own floats.
    """

    name: str
    before: Task
    after: Task
