"""Which arguments of which operators are weights, and which of their axes are output channels. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from common.graph.layout import Axis, Layout, reshaped, size_of
from common.graph.model import Node, ValueRef

Kind: TypeAlias = Literal["linear", "convolution", "embedding", "bilinear", "product", "other"]

_TRANSPOSED: Final = 6  # argument of aten.convolution
_GROUPS: Final = 8  # likewise
_MATRIX: Final = 2


@dataclass(frozen=True, slots=True)
class Operand:
    """A weight as its operator sees it.

    Attributes:
        kind: Of the operator.
        rows: The axes that make up the output channel (or the word).
        columns: The others; for a convolution the input channel and the kernel's axes.

    An axis that only repeats elements has no runs here.
    """

    kind: Kind
    rows: tuple[Axis, ...]
    columns: tuple[Axis, ...]

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """How it is stored for quantization: output channels on axis 0, a kernel's axes last."""
        sizes = tuple(size_of(axis) for axis in self.columns)
        return (
            math.prod(size_of(axis) for axis in self.rows),
            *(sizes if self.kind == "convolution" else (math.prod(sizes),)),
        )

    def is_by_rows(self, shape: Sequence[int], start: int) -> bool:
        """Whether every row of a state belongs to one output channel alone, and so can have its scale.

        Args:
            shape: Of the state whose memory the operand lies in.
            start: Where in it the operand's first element lies.
        """
        row = math.prod(shape[1:])
        reach = sum((size - 1) * stride for axis in self.columns for size, stride in axis)
        return start % row + reach < row and all(
            stride % row == 0 for axis in self.rows for _, stride in axis
        )


def operand(node: Node, position: int, layout: Layout) -> Operand | None:
    """The weight that stands at a position of a node's arguments; None where that is no weight."""
    how = _WEIGHTS.get((node.op, position))
    found = how(node, layout) if how and all(size for axis in layout.axes for size, _ in axis) else None
    return found and Operand(found.kind, _once(found.rows), _once(found.columns))


def weight_positions(node: Node) -> tuple[int, ...]:
    """The positions at which a node may have a weight."""
    return tuple(position for op, position in _WEIGHTS if op == node.op and position < len(node.args))


def _once(axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Without repetitions of the same elements."""
    return tuple(tuple(run for run in axis if run[1]) for axis in axes)


def _plain(kind: Kind) -> Callable[[Node, Layout], Operand | None]:
    def split(_: Node, layout: Layout) -> Operand | None:
        return Operand(kind, layout.axes[:1], layout.axes[1:]) if len(layout.axes) >= _MATRIX else None

    return split


def _convolution(node: Node, layout: Layout) -> Operand | None:
    transposed, groups = (*node.args, *[None] * 9)[_TRANSPOSED : _GROUPS + 1 : 2]
    if transposed is False:
        return _plain("convolution")(node, layout)
    if transposed is not True or type(groups) is not int or groups < 1 or len(layout.axes) < _MATRIX:
        return None
    sizes = [size_of(axis) for axis in layout.axes]
    apart = reshaped(layout, (groups, sizes[0] // groups, *sizes[1:]))
    if apart is None:
        return None
    group, inputs, outputs, *kernel = apart.axes
    return Operand("convolution", (group, outputs), (inputs, *kernel))


def _looked_up(node: Node, layout: Layout) -> Operand | None:
    """``w[i]`` and ``w.index_select(0, i)`` with computed i take words from a table, as an embedding does."""
    where = node.args[1] if len(node.args) > 1 else None
    if node.op == "aten.index_select.default":
        by_rows = where == 0
    else:
        by_rows = isinstance(where, tuple) and len(where) == 1 and isinstance(where[0], ValueRef)
    return _plain("embedding")(node, layout) if by_rows else None


def _left(_: Node, layout: Layout) -> Operand | None:
    return _product(layout.axes[:-1], layout.axes[-1:])


def _right(_: Node, layout: Layout) -> Operand | None:
    return _product((*layout.axes[:-2], *layout.axes[-1:]), layout.axes[-2:-1])


def _product(rows: tuple[Axis, ...], columns: tuple[Axis, ...]) -> Operand | None:
    """None for an outer product: it has no sum in which errors of rounding could even out."""
    many = rows and columns and size_of(columns[0]) != 1
    return Operand("product", rows, columns) if many else None


_WEIGHTS: Final[dict[tuple[str, int], Callable[[Node, Layout], Operand | None]]] = {
    ("aten.linear.default", 1): _plain("linear"),
    ("aten.bilinear.default", 2): _plain("bilinear"),
    ("aten.convolution.default", 1): _convolution,
    ("aten.conv1d.default", 1): _plain("convolution"),
    ("aten.conv2d.default", 1): _plain("convolution"),
    ("aten.conv3d.default", 1): _plain("convolution"),
    ("aten.embedding.default", 0): _plain("embedding"),
    ("aten._embedding_bag.default", 0): _plain("embedding"),
    ("aten.index.Tensor", 0): _looked_up,
    ("aten.index_select.default", 0): _looked_up,
    ("aten.matmul.default", 0): _left,
    ("aten.matmul.default", 1): _right,
    ("aten.mm.default", 0): _left,
    ("aten.mm.default", 1): _right,
    ("aten.bmm.default", 0): _left,
    ("aten.bmm.default", 1): _right,
    ("aten.mv.default", 0): _left,
    ("aten.addmm.default", 1): _left,
    ("aten.addmm.default", 2): _right,
    ("aten.baddbmm.default", 1): _left,
    ("aten.baddbmm.default", 2): _right,
}
