from __future__ import annotations

from dataclasses import replace

import pytest

from common.errors import InvalidInputError
from common.graph.check import check_graph, check_states
from common.graph.model import Graph, Input, Output, Range, State, StateRef, ValueRef
from tests.support.graphs import chain, node

WHOLE = chain(
    node("h", "aten.linear.default", ValueRef("x"), StateRef("w")),
    node("y0", "aten.relu.default", (ValueRef("h"),)),
    states=(State("w", "float32", (4, 4)),),
)


def test_a_whole_graph_is_accepted() -> None:
    check_graph(WHOLE)


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (replace(WHOLE, inputs=()), "no input"),
        (replace(WHOLE, nodes=()), "no node"),
        (replace(WHOLE, outputs=()), "no output"),
        (replace(WHOLE, nodes=WHOLE.nodes[::-1]), "'h', which does not stand before"),
        (replace(WHOLE, states=()), "'w'"),
        (replace(WHOLE, inputs=WHOLE.inputs * 2), "'x' twice"),
        (replace(WHOLE, states=WHOLE.states * 2), "'w' twice"),
        (replace(WHOLE, outputs=WHOLE.outputs * 2), "'y' twice"),
        (replace(WHOLE, inputs=(*WHOLE.inputs, Input("h", "float32", (None,)))), "'h' twice"),
        (replace(WHOLE, outputs=(Output("y", ValueRef("w"), "float32", ()),)), "'w'"),
        (replace(WHOLE, outputs=(Output("y", StateRef("x"), "float32", ()),)), "'x'"),
        (replace(WHOLE, ranges=(Range("w", -1.0, 1.0),)), "'w', which is no float value"),
        (replace(WHOLE, ranges=(Range("h", -1.0, 1.0),) * 2), "'h' twice"),
        (replace(WHOLE, ranges=(Range("h", 0.5, 1.0),)), "leaves out zero"),
        (replace(WHOLE, ranges=(Range("h", float("nan"), 1.0),)), "leaves out zero"),
        (replace(WHOLE, ranges=(Range("h", 0.0, float("inf")),)), "out of bounds"),
        (
            replace(WHOLE, inputs=(Input("x", "int64", (None,)),), ranges=(Range("x", -1.0, 1.0),)),
            "'x', which is no float value",
        ),
        (chain(node("a", "aten.add.Tensor", ValueRef("x"), alpha=(ValueRef("b"),))), "'b'"),
    ],
)
def test_what_is_not_whole_is_refused(broken: Graph, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check_graph(broken)


def test_states_must_be_exactly_those_of_the_graph() -> None:
    check_states(WHOLE, {"w": ("float32", (4, 4))})
    with pytest.raises(InvalidInputError, match="do not hold"):
        check_states(WHOLE, {})
    with pytest.raises(InvalidInputError, match=r"float16 \[4, 4\] where the graph has float32 \[4, 4\]"):
        check_states(WHOLE, {"w": ("float16", (4, 4))})
    with pytest.raises(InvalidInputError, match=r"float32 \[4\] where"):
        check_states(WHOLE, {"w": ("float32", (4,))})
    with pytest.raises(InvalidInputError, match="'v', which the graph does not name"):
        check_states(WHOLE, {"w": ("float32", (4, 4)), "v": ("float32", (1,))})
