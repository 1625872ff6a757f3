"""Matrix products with a weight become ``linear``, so that the weight has its output channel on axis 0.

``x @ w`` and ``addmm(b, x, w)`` keep w as [inputs, outputs]; stored the other way round it can be quantized
per output channel like any linear layer. ``x @ w.t()`` is a linear layer already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from common.graph.model import Argument, Node, StateRef, ValueRef

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]

_LINEAR: Final = "aten.linear.default"
# Position of bias (None where there is none), of the left and of the right factor.
_PRODUCTS: Final[dict[str, tuple[int | None, int, int]]] = {
    "aten.mm.default": (None, 0, 1),
    "aten.matmul.default": (None, 0, 1),
    "aten.addmm.default": (0, 1, 2),
}


def as_linear(nodes: Sequence[Node], shapes: Shapes) -> tuple[tuple[Node, ...], frozenset[str]]:
    """The nodes with such products replaced, and the names of the states to store with axes swapped.

    Args:
        nodes: In order of execution, without unused ones.
        shapes: Of every state, as the model has it.
    """
    transposes = {node.name: node.args[0] for node in nodes if _is_transpose(node, shapes)}
    straight = [_replaced(node, transposes.get(_right(node)), shapes) for node in nodes]
    turned = frozenset(name for name in shapes if _is_only_right_factor(name, straight, shapes))
    final = (_replaced(node, _turned_factor(node, turned), shapes) for node in straight)
    return tuple(final), turned


def _is_transpose(node: Node, shapes: Shapes) -> bool:
    return (
        node.op == "aten.permute.default"
        and isinstance(node.args[0], StateRef)
        and len(shapes[node.args[0].name]) == 2  # noqa: PLR2004 - a matrix
        and node.args[1] in ((1, 0), (-1, 0), (1, -2), (-1, -2))
    )


def _right(node: Node) -> str:
    factor = _factor(node)
    return factor.name if isinstance(factor, ValueRef) else ""


def _turned_factor(node: Node, turned: frozenset[str]) -> Argument:
    factor = _factor(node)
    return factor if isinstance(factor, StateRef) and factor.name in turned else None


def _factor(node: Node) -> Argument:
    return node.args[_PRODUCTS[node.op][2]] if node.op in _PRODUCTS else None


def _is_only_right_factor(name: str, nodes: Sequence[Node], shapes: Shapes) -> bool:
    if len(shapes[name]) != 2:  # noqa: PLR2004 - a matrix
        return False
    readers = [node for node in nodes if StateRef(name) in node.references()]
    return bool(readers) and all(
        _factor(node) == StateRef(name)
        and list(node.references()).count(StateRef(name)) == 1
        and _bias(node, shapes) is not False
        for node in readers
    )


def _replaced(node: Node, weight: Argument, shapes: Shapes) -> Node:
    """The node as a linear layer with this weight; unchanged where there is none or the bias does not fit."""
    bias = _bias(node, shapes)
    if weight is None or bias is False:
        return node
    args = (node.args[_PRODUCTS[node.op][1]], weight)
    return Node(node.name, _LINEAR, node.layer, args if bias is None else (*args, bias), {})


def _bias(node: Node, shapes: Shapes) -> Argument:
    """The bias, None without one, False where ``linear`` cannot take it."""
    if node.op not in _PRODUCTS or node.kwargs:
        return False
    position = _PRODUCTS[node.op][0]
    if position is None:
        return None
    bias = node.args[position]
    return bias if isinstance(bias, StateRef) and len(shapes[bias.name]) == 1 else False
