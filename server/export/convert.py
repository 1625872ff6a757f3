"""From a ``torch.fx`` program to nodes of the graph, in one walk.

What has no meaning once the graph is functional and runs on one device goes: copies, assertions, devices,
layouts. ``view`` becomes ``reshape``, so that no operator depends on strides.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any, Final

import torch
from torch import fx

from common.errors import UnsupportedModelError
from common.graph.model import Argument, Dtype, MemoryFormat, Node, ValueRef
from common.graph.ops import GETITEM, place
from server.export.trace import model_path

_COPIES: Final = frozenset(
    {
        "aten.clone.default",
        "aten.alias.default",
        "aten.detach.default",
        "aten.detach_.default",
        "aten.contiguous.default",
        "aten.lift_fresh_copy.default",
        "aten.lift_fresh.default",
    }
)
_RESHAPES: Final = frozenset({"aten.view.default", "aten._unsafe_view.default", "aten.view_copy.default"})
_WITHOUT_MEANING: Final = frozenset({"device", "layout", "pin_memory", "non_blocking"})
_INTEGER_FUNCTIONS: Final[dict[Any, str]] = {
    operator.getitem: GETITEM,
    operator.add: "sym.add",
    operator.sub: "sym.sub",
    operator.mul: "sym.mul",
    operator.floordiv: "sym.floordiv",
    operator.mod: "sym.mod",
    operator.neg: "sym.neg",
    torch.sym_max: "sym.max",
    torch.sym_min: "sym.min",
}


class Converter:
    """Walks a program and collects nodes."""

    def __init__(self, inputs: Sequence[str]) -> None:
        self.nodes: list[Node] = []
        self._names = set(inputs)

    def walk(self, graph: fx.Graph, known: Mapping[fx.Node, Argument]) -> Argument:
        """Convert a program's nodes.

        Args:
            graph: The program's graph, functional, without regions inside.
            known: What its placeholders stand for.

        Returns:
            What the graph yields.

        Raises:
            UnsupportedModelError: An argument has no form in the graph.
        """
        values: dict[fx.Node, Argument] = dict(known)
        for node in graph.nodes:
            if node.op == "call_function":
                values[node] = self._call(node, values)
            elif node.op == "output":
                return _argument(node.args[0], values, "")
        return ()

    def _call(self, node: fx.Node, values: Mapping[fx.Node, Argument]) -> Argument:
        layer = _layer(node)
        args = tuple(
            _argument(item, values, layer) for item in node.args if not isinstance(item, torch.device)
        )
        kwargs = {
            key: _argument(value, values, layer)
            for key, value in node.kwargs.items()
            if key not in _WITHOUT_MEANING
        }
        op = _op(node)
        if op in _COPIES or (op == "aten._to_copy.default" and kwargs.get("dtype") is None):
            return args[0]
        name = self._unique(node.name)
        self.nodes.append(Node(name, "aten.reshape.default" if op in _RESHAPES else op, layer, args, kwargs))
        return ValueRef(name)

    def _unique(self, name: str) -> str:
        candidate, count = name, 1
        while candidate in self._names:
            candidate, count = f"{name}_r{count}", count + 1
        self._names.add(candidate)
        return candidate


def _op(node: fx.Node) -> str:
    return _INTEGER_FUNCTIONS.get(node.target, str(node.target))


def _layer(node: fx.Node) -> str:
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    path = paths[-1] if paths else ""
    return "" if path.startswith("_empty_nn_module") else model_path(path)


def _argument(item: Any, values: Mapping[fx.Node, Argument], layer: str) -> Argument:
    match item:
        case fx.Node():
            return values.get(item)
        case None | bool() | int() | float() | str():
            return item
        case list() | tuple():
            return tuple(_argument(part, values, layer) for part in item)
        case torch.dtype():
            return Dtype(str(item).removeprefix("torch."))
        case torch.memory_format():
            return MemoryFormat(str(item).removeprefix("torch."))
        case _:
            raise UnsupportedModelError(
                f"An argument of type {type(item).__name__} in {place(layer)} cannot be delivered."
            )
