"""The operators that only look at a tensor in another shape, and what they make of a layout. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

from common.graph.layout import OPEN, Layout, permuted, reshaped, size_of, sliced, without
from common.graph.model import FLOAT_DTYPES, Argument, Dtype, Node, ValueRef
from common.graph.ops import GETITEM

# One view, or the several that an operator of split yields.
View: TypeAlias = "Layout | tuple[Layout, ...]"

_MAX_PARTS: Final = 1024
_LAST: Final = (1 << 63) - 1


def view(node: Node, of: View) -> View | None:
    """What a node makes of a view that is its first argument; None where it is no operator of shape.

    Arguments may be anything, since graphs come from outside: what makes no sense is no view.
    """
    if node.op not in _VIEWS or (node.kwargs and node.op != _CAST):
        return None
    if isinstance(of, tuple) != (node.op == GETITEM):
        return None
    try:
        return _VIEWS[node.op](of, *node.args[1:], **node.kwargs)
    except (IndexError, TypeError, ValueError, ZeroDivisionError):
        return None


def is_view(node: Node) -> bool:
    """Whether the operator is one that ``view`` knows."""
    return node.op in _VIEWS


def _permute(of: Layout, order: Sequence[int]) -> Layout | None:
    return permuted(of, order)


def _transpose(of: Layout, first: int, second: int) -> Layout | None:
    order = list(range(len(of.axes)))
    order[first], order[second] = order[second], order[first]
    return permuted(of, order)


def _t(of: Layout) -> Layout | None:
    return permuted(of, range(len(of.axes))[::-1])


def _reshape(of: Layout, shape: Sequence[int]) -> Layout | None:
    return reshaped(of, shape)


def _unsqueeze(of: Layout, axis: int) -> Layout:
    axes = list(of.axes)
    axes.insert(axis % (len(axes) + 1), ())
    return Layout(tuple(axes), of.start)


def _squeeze(of: Layout, axes: int | Sequence[int]) -> Layout:
    count = len(of.axes)
    picked = {axis % count for axis in ([axes] if isinstance(axes, int) else axes)}
    kept = [runs for axis, runs in enumerate(of.axes) if runs or axis not in picked]
    return Layout(tuple(kept), of.start)


def _squeeze_all(of: Layout) -> Layout:
    return _squeeze(of, range(len(of.axes)))


def _expand(of: Layout, sizes: Sequence[Argument]) -> Layout | None:
    new = len(sizes) - len(of.axes)
    axes = ((),) * new + of.axes
    found = []
    for runs, size in zip(axes, sizes, strict=True):
        if size == -1 or size == size_of(runs):
            found.append(runs)
        elif runs or not isinstance(size, int | ValueRef):
            return None
        else:
            found.append(((size if isinstance(size, int) else OPEN, 0),))
    return Layout(tuple(found), of.start)


def _slice(
    of: Layout, axis: int = 0, start: int | None = None, stop: int | None = None, step: int = 1
) -> Layout | None:
    size = size_of(of.axes[axis])
    first, last, _ = slice(start, _LAST if stop is None else stop).indices(size)
    return sliced(of, axis, first, last) if step == 1 and size > 0 else None


def _select(of: Layout, axis: int, index: int) -> Layout | None:
    size = size_of(of.axes[axis])
    one = sliced(of, axis, index % size, index % size + 1) if -size <= index < size else None
    return without(one, axis) if one else None


def _split_with_sizes(of: Layout, sizes: Sequence[int], axis: int = 0) -> tuple[Layout, ...] | None:
    parts: list[Layout] = []
    start = 0
    for size in sizes:
        part = sliced(of, axis, start, start + size)
        if part is None:
            return None
        parts.append(part)
        start += size
    return tuple(parts)


def _split(of: Layout, size: int, axis: int = 0) -> tuple[Layout, ...] | None:
    whole = size_of(of.axes[axis])
    if whole > size * _MAX_PARTS:
        return None
    return _split_with_sizes(of, [min(size, whole - start) for start in range(0, whole, size)], axis)


def _unbind(of: Layout, axis: int = 0) -> tuple[Layout, ...] | None:
    parts = _split(of, 1, axis)
    bare = [without(part, axis) for part in parts or ()]
    return tuple(part for part in bare if part is not None) or None


def _getitem(of: tuple[Layout, ...], index: int) -> Layout:
    return of[index]


def _cast(of: Layout, *, dtype: Argument = None) -> Layout | None:
    return of if isinstance(dtype, Dtype) and dtype.name in FLOAT_DTYPES else None


_CAST: Final = "aten._to_copy.default"
_VIEWS: Final[dict[str, Callable[..., View | None]]] = {
    "aten.permute.default": _permute,
    "aten.transpose.int": _transpose,
    "aten.t.default": _t,
    "aten.reshape.default": _reshape,
    "aten.unsqueeze.default": _unsqueeze,
    "aten.squeeze.default": _squeeze_all,
    "aten.squeeze.dim": _squeeze,
    "aten.squeeze.dims": _squeeze,
    "aten.expand.default": _expand,
    "aten.slice.Tensor": _slice,
    "aten.select.int": _select,
    "aten.split_with_sizes.default": _split_with_sizes,
    "aten.split.Tensor": _split,
    "aten.unbind.int": _unbind,
    GETITEM: _getitem,
    # A cast to another float is the same weight: mixed precision casts it at each use.
    _CAST: _cast,
}
