"""Running the float model on samples, to see what its values are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

import torch

from common.graph.build import StateSource, build
from common.graph.check import MIN_SPAN
from common.graph.model import Graph, Range
from server.quantize.ranges.choice import Bounds, best_bounds, serves
from server.quantize.ranges.histogram import Histogram
from server.quantize.ranges.watched import watched_values
from server.quantize.samples import Samples

_BATCH: Final = 8
_LEAST_SPAN: Final = 100 * MIN_SPAN  # what is chosen within may be a sixtieth of it
_GREATEST: Final = 1e30  # what masks use for "never", -inf or the least of floats, is far beyond


def observe(
    graph: Graph,
    source: StateSource,
    samples: Samples,
    report: Callable[[str, int, int], None],
    *,
    held: Mapping[str, Range] = MappingProxyType({}),
    batch: int = _BATCH,
) -> tuple[Range, ...]:
    """The ranges of the values that 8-bit kernels would read and write, in the graph's order.

    A value has none if it is not float, was zero throughout, or held NaN or numbers beyond 1e30: no 8 bits
    stand for a mask of minus infinity, so what has been masked has to stay float.

    Args:
        graph: What is computed; ranges that it has do not matter.
        source: The float weights.
        samples: Inputs, as ``common.graph.inputs.check_inputs`` accepts them.
        report: Told of progress as "ranges", in batches; what it raises ends the work.
        held: Ranges of the version before, by value; kept where they lose no more than a few percent.
        batch: How many samples run at once.

    Raises:
        UnsupportedModelError: An operator fails.
        CapacityError: An operator finds no memory.
    """
    runner = build(graph)
    seen = {name: Histogram() for name in watched_values(graph)}

    def watch(name: str, value: torch.Tensor) -> None:
        if name in seen and value.numel() and not _count(seen[name], value):
            del seen[name]

    starts = range(0, samples.count, batch)
    report("ranges", 0, len(starts))
    for done, start in enumerate(starts, 1):
        inputs = (torch.from_numpy(array[start : start + batch]) for array in samples.inputs)
        runner(source, *inputs, watch=watch)
        report("ranges", done, len(starts))
    return tuple(
        _range(name, histogram, held.get(name))
        for name, histogram in seen.items()
        if histogram.high - histogram.low >= _LEAST_SPAN
    )


def _count(histogram: Histogram, value: torch.Tensor) -> bool:
    """Whether 8 bits can stand for such a value; it is counted then."""
    if not value.is_floating_point():
        return False
    numbers = value.detach().float().reshape(-1)
    low, high = (float(bound) for bound in torch.aminmax(numbers))
    if not -_GREATEST <= low <= high <= _GREATEST:  # NaN neither
        return False
    histogram.add(numbers, low, high)
    return True


def _range(name: str, histogram: Histogram, held: Range | None) -> Range:
    points, counts = histogram.points()
    bounds = best_bounds(points, counts, Bounds(histogram.low, histogram.high))
    if held and serves(points, counts, Bounds(held.low, held.high), bounds):
        return held
    return Range(name, bounds.low, bounds.high)
