"""Matrix products with a weight become ``linear``, for which there are kernels.

``x @ w`` and ``addmm(b, x, w)``, also what ``einsum`` is taken apart to, multiply by a matrix [inputs,
outputs]; that is a linear layer whose weight is the matrix the other way round, as it is stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from common.graph.layout import Layout, contiguous, permuted
from common.graph.model import Argument, Node, StateRef
from common.graph.readings import Reading

_LINEAR: Final = "aten.linear.default"
# Position of bias (None where there is none), of the left and of the right factor.
_PRODUCTS: Final[dict[str, tuple[int | None, int, int]]] = {
    "aten.mm.default": (None, 0, 1),
    "aten.matmul.default": (None, 0, 1),
    "aten.bmm.default": (None, 0, 1),
    "aten.addmm.default": (0, 1, 2),
}
_MATRIX: Final = 2


def as_linear(node: Node, reading: Reading, shapes: Mapping[str, tuple[int, ...]]) -> Node | None:
    """The node as a linear layer; None where it is none.

    Args:
        node: In which the reading is.
        reading: Of a weight, without a cast in between.
        shapes: Of every state, as it is stored.
    """
    if node.op not in _PRODUCTS or node.kwargs:
        return None
    bias_position, left, right = _PRODUCTS[node.op]
    shape = shapes[reading.state]
    if reading.position != right or reading.layout is None or len(shape) != _MATRIX:
        return None
    if _matrix(node.op, reading.layout) != permuted(contiguous(shape), (1, 0)):
        return None
    weight = StateRef(reading.state)
    if bias_position is None:
        return Node(node.name, _LINEAR, node.layer, (node.args[left], weight), {})
    bias = node.args[bias_position]
    if not _is_bias(bias, shapes):
        return None
    return Node(node.name, _LINEAR, node.layer, (node.args[left], weight, bias), {})


def _matrix(op: str, factor: Layout) -> Layout:
    """A factor without the batch axis of ``bmm``, where all of the batch has the same matrix."""
    same = op == "aten.bmm.default" and all(stride == 0 for _, stride in factor.axes[0])
    return Layout(factor.axes[1:], factor.start) if same else factor


def _is_bias(bias: Argument, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    return isinstance(bias, StateRef) and len(shapes[bias.name]) == 1
