"""Hand-written graphs, and hypothesis strategies that make valid ones."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from hypothesis import strategies as st

from common.graph.model import (
    DTYPES,
    FLOAT_DTYPES,
    MEMORY_FORMATS,
    Argument,
    Dtype,
    Graph,
    Input,
    MemoryFormat,
    Node,
    Output,
    Range,
    State,
    StateRef,
    ValueRef,
)

_NAMES = st.text(st.characters(codec="utf-8", categories=["L", "N"], include_characters="._"), min_size=1)
_OPS = st.sampled_from(["aten.add.Tensor", "aten.relu.default", "aten.linear.default", "sym.add", "getitem"])


class Tensors:
    """A ``StateSource`` over a dictionary that counts what is asked for."""

    def __init__(self, tensors: Mapping[str, torch.Tensor]) -> None:
        self.tensors = dict(tensors)
        self.asked: list[str] = []

    def tensor(self, name: str) -> torch.Tensor:
        self.asked.append(name)
        return self.tensors[name].clone()


def chain(*nodes: Node, states: tuple[State, ...] = ()) -> Graph:
    """A graph from float32 input "x" [batch, 4] through nodes; its output is the last of them."""
    output = Output("y", ValueRef(nodes[-1].name), "float32", (None, 4))
    return Graph((Input("x", "float32", (None, 4)),), states, nodes, (output,))


def node(name: str, op: str, *args: Argument, layer: str = "a.b", **kwargs: Argument) -> Node:
    """A node of layer "a.b"."""
    return Node(name, op, layer, args, kwargs)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs that are whole; their operators need not make sense."""
    names = draw(st.lists(_NAMES, min_size=2, max_size=8, unique=True))
    states = tuple(State(name, draw(_DTYPE), draw(_SHAPE)) for name in draw(_STATE_NAMES))
    split = draw(st.integers(1, len(names) - 1))
    inputs = tuple(Input(name, draw(_DTYPE), (None, *draw(_SHAPE))) for name in names[:split])
    nodes = tuple(
        Node(name, draw(_OPS), draw(_LAYERS), *draw(_arguments(names[:index], states)))
        for index, name in enumerate(names[split:], split)
    )
    outputs = (Output(draw(_NAMES), ValueRef(draw(st.sampled_from(names))), draw(_DTYPE), draw(_SHAPE)),)
    floats = [item.name for item in inputs if item.dtype in FLOAT_DTYPES] + [node.name for node in nodes]
    ranged = draw(st.lists(st.sampled_from(floats), unique=True, max_size=3))
    ranges = tuple(Range(name, draw(st.floats(-1e30, 0)), draw(st.floats(1e-30, 1e30))) for name in ranged)
    return Graph(inputs, states, nodes, outputs, ranges)


_DTYPE = st.sampled_from(sorted(DTYPES))
_SHAPE = st.lists(st.integers(0, 64), max_size=4).map(tuple)
_STATE_NAMES = st.lists(_NAMES, max_size=4, unique=True)
_LAYERS = st.sampled_from(["", "encoder.layer.0", "stem"])


def _arguments(
    values: list[str], states: tuple[State, ...]
) -> st.SearchStrategy[tuple[tuple[Argument, ...], dict[str, Argument]]]:
    references: list[ValueRef | StateRef] = [ValueRef(name) for name in values]
    references += [StateRef(state.name) for state in states]
    leaves: st.SearchStrategy[Argument] = st.one_of(
        st.sampled_from(references),
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**63 - 1),
        st.floats(allow_nan=False),
        st.text(st.characters(codec="utf-8", categories=["L", "P"])),
        st.sampled_from([Dtype(name) for name in sorted(DTYPES)]),
        st.sampled_from([MemoryFormat(name) for name in sorted(MEMORY_FORMATS)]),
    )
    arguments = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=6)
    return st.tuples(
        st.lists(arguments, max_size=4).map(tuple),
        st.dictionaries(st.sampled_from(["dtype", "scale", "dim"]), arguments, max_size=2),
    )
