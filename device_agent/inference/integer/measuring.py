"""A short measurement: how long each layer takes on kernels and in floats, and what its input looks like."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

_REPEATS = 4
# Kernels win by a factor of three or more where they win: a board that is busy with something else while it
# measures must not take that for the kernel's fault.
_MARGIN = 1.25


@dataclass(slots=True)
class Timings:
    """What runs told of their layers.

    Attributes:
        seconds: The shortest time of each, by its weight's name.
        shapes: Of its input, as kernels see it: [batch, columns, height, width].
    """

    seconds: dict[str, float] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)

    def note(self, weight: str, seconds: float, shape: tuple[int, ...]) -> None:
        """A layer has run."""
        self.seconds[weight] = min(seconds, self.seconds.get(weight, seconds))
        self.shapes[weight] = shape


def measured(run: Callable[[Timings], object], *, repeats: int = _REPEATS) -> Timings:
    """The least of a few runs; the first warms caches up."""
    timings = Timings()
    for _ in range(repeats):
        run(timings)
    return timings


def faster(integers: Timings, floats: Timings) -> Mapping[str, bool]:
    """Weight to whether its layer is faster on kernels."""
    return {name: seconds <= floats.seconds.get(name, seconds) for name, seconds in integers.seconds.items()}
