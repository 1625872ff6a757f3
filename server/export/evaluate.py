"""The value of a node that depends on no input, computed as the model does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from common.graph.model import Argument, Dtype, MemoryFormat, Node, StateRef, ValueRef
from common.graph.operators import resolve
from server.export.prune import prune


def is_repeatable(node: Node) -> bool:
    """Whether the operator yields the same at every call."""
    tags = getattr(_function(node), "tags", ())
    return torch.Tag.nondeterministic_seeded not in tags


def evaluate(nodes: Sequence[Node], target: str, tensors: Mapping[str, torch.Tensor]) -> Any:
    """What the node of this name yields; on the CPU.

    Args:
        nodes: In order of execution.
        target: Depends on no input.
        tensors: The states by name; they are not changed.
    """
    values: dict[str, Any] = {}
    with torch.no_grad():
        for node in prune(nodes, [ValueRef(target)]):
            args = [_filled(item, values, tensors) for item in node.args]
            kwargs = {key: _filled(item, values, tensors) for key, item in node.kwargs.items()}
            values[node.name] = _function(node)(*args, **kwargs)
    return values[target]


def _function(node: Node) -> Any:
    """Any operator of torch's: this runs what the exporter found, not what someone sent."""
    if not node.op.startswith("aten."):
        return resolve(node.op, node.layer)
    _, name, overload = node.op.split(".")
    return getattr(getattr(torch.ops.aten, name), overload)


def _filled(argument: Argument, values: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Any:
    match argument:
        case ValueRef(name):
            return values[name]
        case StateRef(name):
            return tensors[name].detach().cpu()
        case Dtype(name) | MemoryFormat(name):
            return getattr(torch, name)
        case tuple():
            return [_filled(item, values, tensors) for item in argument]
        case _:
            return argument
