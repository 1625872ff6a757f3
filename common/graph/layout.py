"""Where the elements of a view lie in the memory of the tensor that it was taken from. Pure arithmetic.

An axis of a view is a sequence of *runs*, outermost first: a run of n elements at a stride. An axis that
``reshape`` made of several has several runs, one of size one has none. With that, everything that operators
of shape do to a contiguous tensor can be written down without touching it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

# Size and stride, in elements. Stride 0: the same elements again.
Run: TypeAlias = "tuple[int, int]"
Axis: TypeAlias = "tuple[Run, ...]"

# The size of a repeated axis that is known only at run time.
OPEN: Final = -1


@dataclass(frozen=True, slots=True)
class Layout:
    """A view of a contiguous tensor.

    Attributes:
        axes: Its axes; an axis' elements are those of its runs in row-major order.
        start: Where its first element lies.
    """

    axes: tuple[Axis, ...]
    start: int = 0


def contiguous(shape: Sequence[int]) -> Layout:
    """The layout of a tensor as a whole."""
    axes = []
    stride = 1
    for size in reversed(shape):
        axes.append(((size, stride),) if size != 1 else ())
        stride *= size
    return Layout(tuple(reversed(axes)))


def size_of(axis: Axis) -> int:
    """How many elements an axis has."""
    return math.prod(size for size, _ in axis)


def merged(runs: Iterable[Run]) -> Axis:
    """The same elements in the same order, in as few runs as can be."""
    found: list[Run] = []
    for size, stride in runs:
        if found and stride and found[-1][1] == size * stride:
            size *= found.pop()[0]  # noqa: PLW2901 - the two are one run
        found.append((size, stride))
    return tuple(found)


def permuted(layout: Layout, order: Sequence[int]) -> Layout | None:
    """The axes in another order; None where that is no order of them."""
    count = len(layout.axes)
    if sorted(axis % count for axis in order) != list(range(count)):
        return None
    return Layout(tuple(layout.axes[axis] for axis in order), layout.start)


def reshaped(layout: Layout, shape: Sequence[int]) -> Layout | None:
    """The elements in another shape of equally many; one size may be -1. None where no runs can tell it."""
    runs = [run for axis in layout.axes for run in axis]
    if any(size < 1 for size, _ in runs):
        return None
    count, known = size_of(tuple(runs)), math.prod(size for size in shape if size != -1)
    sizes = [count // max(known, 1) if size == -1 else size for size in shape]
    if math.prod(sizes) != count:
        return None
    left = list(reversed(merged(runs)))
    axes = [_taken(left, size) for size in sizes]
    return (
        Layout(tuple(axis for axis in axes if axis is not None), layout.start) if None not in axes else None
    )


def _taken(runs: list[Run], wanted: int) -> Axis | None:
    """An axis off the end of the runs, which stand innermost first."""
    axis: list[Run] = []
    while wanted > 1:
        size, stride = runs.pop()
        if wanted % size == 0:
            axis.append((size, stride))
            wanted //= size
        elif size % wanted == 0:
            axis.append((wanted, stride * (size // wanted)))
            runs.append((size // wanted, stride))
            wanted = 1
        else:
            return None
    return merged(axis)


def sliced(layout: Layout, axis: int, start: int, stop: int) -> Layout | None:
    """A range of one axis, its bounds within it; None where its elements do not lie evenly."""
    axis %= len(layout.axes)
    runs = layout.axes[axis]
    if (start, stop) == (0, size_of(runs)):
        return layout
    if len(runs) != 1 or runs[0][0] == OPEN or not 0 <= start < stop <= runs[0][0]:
        return None
    stride = runs[0][1]
    kept = ((stop - start, stride),) if stop - start > 1 else ()
    return Layout((*layout.axes[:axis], kept, *layout.axes[axis + 1 :]), layout.start + start * stride)


def without(layout: Layout, axis: int) -> Layout | None:
    """An axis of size one taken out; None where it has another size."""
    axis %= len(layout.axes)
    return (
        Layout(layout.axes[:axis] + layout.axes[axis + 1 :], layout.start) if not layout.axes[axis] else None
    )
