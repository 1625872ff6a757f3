from __future__ import annotations

from common.graph.model import Graph, Node, Output, State, StateRef, ValueRef
from common.graph.uses import WeightUse, quantizable_states, weight_uses
from tests.support.graphs import chain, node

X, W = ValueRef("x"), StateRef("w")


def _graph(*nodes: Node, shape: tuple[int, ...] = (4, 4), dtype: str = "float32") -> Graph:
    return chain(*nodes, states=(State("w", dtype, shape),))


def _convolution(*, transposed: bool) -> Node:
    return node("c", "aten.convolution.default", X, W, None, (1,), (0,), (1,), transposed, (0,), 1)


def test_weights_of_layers_are_quantizable() -> None:
    for use in (
        node("c", "aten.linear.default", X, W),
        node("c", "aten.embedding.default", W, X),
        node("c", "aten.conv2d.default", X, W),
        _convolution(transposed=False),
    ):
        assert quantizable_states(_graph(use)) == ("w",)


def test_other_uses_are_not() -> None:
    for use in (
        node("c", "aten.linear.default", W, X),
        node("c", "aten.linear.default", X, X, W),
        node("c", "aten.add.Tensor", X, W),
        node("c", "aten.cat.default", (X, W)),
        node("c", "aten.linear.default", X, weight=W),
        _convolution(transposed=True),
    ):
        assert quantizable_states(_graph(use)) == ()


def test_one_other_use_is_enough_to_stay_float() -> None:
    linear, add = node("c", "aten.linear.default", X, W), node("d", "aten.add.Tensor", X, W)
    assert quantizable_states(_graph(linear, add)) == ()


def test_an_output_of_the_graph_is_another_use() -> None:
    graph = _graph(node("c", "aten.linear.default", X, W))
    graph = Graph(graph.inputs, graph.states, graph.nodes, (Output("w", W, "float32", (4, 4)),))
    assert quantizable_states(graph) == ()
    assert weight_uses(graph)["w"] == (WeightUse("linear", 1, 0), WeightUse("other", -1, -1))


def test_integers_vectors_unused_and_empty_ones_are_not() -> None:
    linear = node("c", "aten.linear.default", X, W)
    assert quantizable_states(_graph(linear, dtype="int64")) == ()
    assert quantizable_states(_graph(linear, shape=(4,))) == ()
    assert quantizable_states(_graph(linear, shape=(0, 4))) == ()
    assert quantizable_states(_graph(node("c", "aten.relu.default", X))) == ()


def test_uses_come_in_order_of_execution() -> None:
    graph = _graph(node("c", "aten.embedding.default", W, X), node("d", "aten.linear.default", X, W))
    assert weight_uses(graph) == {"w": (WeightUse("embedding", 0, 0), WeightUse("linear", 1, 1))}
