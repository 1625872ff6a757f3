"""Weights that the model computes from its tensors (weight norm, spectral norm) are computed once, at export.

In evaluation mode such a weight is the same at every call, so it becomes a state of its own, and what it was
computed from goes. It stays a computation where the model would grow by it: a product of two thin matrices.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any

import torch
from torch.export.graph_signature import InputKind

from common.graph.model import Argument, Node, StateRef, ValueRef
from common.graph.operands import weight_positions
from common.graph.views import is_view
from server.export.evaluate import evaluate, is_repeatable
from server.export.prune import prune, used_states
from server.export.states import FoundState


def fold_weights(
    nodes: Sequence[Node], outputs: Sequence[Argument], states: Mapping[str, FoundState]
) -> tuple[tuple[Node, ...], dict[str, FoundState]]:
    """The nodes without the computation of weights, and the states by name, with those weights beside them.

    Args:
        nodes: In order of execution, without unused ones.
        outputs: What the graph yields.
        states: By name.
    """
    constant = _constant(nodes)
    current, known = _without_twins(nodes, constant), dict(states)
    for target, layer in _computed_weights(current, constant).items():
        if ValueRef(target) in outputs:
            continue
        value = evaluate(current, target, {name: found.tensor for name, found in known.items()})
        if not _is_weight(value):
            continue
        name = _free_name(f"{layer}.weight" if layer else "weight", known)
        folded = prune(_with_state(current, target, name), outputs)
        added = {**known, name: FoundState("", name, value, InputKind.PARAMETER)}
        if _size_bytes(folded, outputs, added) <= _size_bytes(current, outputs, known):
            current, known = folded, added
    return (current, known) if len(known) > len(states) else (tuple(nodes), known)


def _constant(nodes: Sequence[Node]) -> frozenset[str]:
    """Names of the nodes that depend on no input."""
    found: set[str] = set()
    for node in nodes:
        known = all(isinstance(item, StateRef) or item.name in found for item in node.references())
        if known and is_repeatable(node):
            found.add(node.name)
    return frozenset(found)


def _without_twins(nodes: Sequence[Node], constant: frozenset[str]) -> tuple[Node, ...]:
    """The nodes with each constant computed once: a module that is called twice computes its weight twice."""
    first: dict[str, str] = {}
    twins: dict[Argument, Argument] = {}
    kept = []
    for node in nodes:
        renamed = _renamed(node, twins)
        if node.name in constant:
            known = first.setdefault(
                repr((renamed.op, renamed.args, sorted(renamed.kwargs.items()))), node.name
            )
            if known != node.name:
                twins[ValueRef(node.name)] = ValueRef(known)
                continue
        kept.append(renamed)
    return tuple(kept)


def _computed_weights(nodes: Sequence[Node], constant: frozenset[str]) -> dict[str, str]:
    """Constants that an operator has as its weight, below views of them, and that operator's layer."""
    found: dict[str, str] = {}
    for name, layer in _found_weights(nodes, constant):
        found.setdefault(name, layer)
    return found


def _found_weights(nodes: Sequence[Node], constant: frozenset[str]) -> Iterator[tuple[str, str]]:
    by_name = {node.name: node for node in nodes}
    for node in nodes:
        for position in weight_positions(node) if node.name not in constant else ():
            source = node.args[position]
            while isinstance(source, ValueRef) and source.name in by_name and is_view(by_name[source.name]):
                source = by_name[source.name].args[0]
            if isinstance(source, ValueRef) and source.name in constant:
                yield source.name, node.layer


def _with_state(nodes: Sequence[Node], target: str, name: str) -> tuple[Node, ...]:
    replacement: dict[Argument, Argument] = {ValueRef(target): StateRef(name)}
    return tuple(_renamed(node, replacement) for node in nodes if node.name != target)


def _renamed(node: Node, names: Mapping[Argument, Argument]) -> Node:
    kwargs = {key: _replaced(value, names) for key, value in node.kwargs.items()}
    return Node(node.name, node.op, node.layer, tuple(_replaced(item, names) for item in node.args), kwargs)


def _replaced(argument: Argument, names: Mapping[Argument, Argument]) -> Argument:
    if isinstance(argument, tuple):
        return tuple(_replaced(item, names) for item in argument)
    return names.get(argument, argument) if isinstance(argument, ValueRef) else argument


def _is_weight(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1


def _size_bytes(nodes: Sequence[Node], outputs: Sequence[Argument], states: Mapping[str, FoundState]) -> int:
    used = (states[name].tensor for name in used_states(nodes, outputs))
    return sum(math.prod(tensor.shape) * tensor.itemsize for tensor in used)


def _free_name(wanted: str, taken: Mapping[str, object]) -> str:
    names = (f"{wanted}_{number}" if number else wanted for number in count())
    return next(name for name in names if name not in taken)
