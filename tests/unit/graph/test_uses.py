from __future__ import annotations

from hypothesis import given, settings

from common.graph.model import Argument, Dtype, Graph, Node, Output, State, StateRef, ValueRef
from common.graph.readings import MAX_VIEWS
from common.graph.uses import WeightUse, quantizable_states, weight_uses
from tests.support.graphs import chain, graphs, node

X, W = ValueRef("x"), StateRef("w")


def _graph(*nodes: Node, shape: tuple[int, ...] = (4, 4), dtype: str = "float32") -> Graph:
    return chain(*nodes, states=(State("w", dtype, shape),))


def _convolution(weight: Argument = W, *, transposed: bool, groups: int = 1) -> Node:
    return node("c", "aten.convolution.default", X, weight, None, (1,), (0,), (1,), transposed, (0,), groups)


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


def test_a_view_of_a_weight_is_that_weight() -> None:
    turned = ValueRef("t")
    for view, use in (
        (node("t", "aten.permute.default", W, (1, 0)), node("c", "aten.matmul.default", X, turned)),
        (node("t", "aten.transpose.int", W, 0, 1), _convolution(turned, transposed=True)),
        (node("t", "aten.slice.Tensor", W, 0, 1, 3), node("c", "aten.linear.default", X, turned)),
        (node("t", "aten.slice.Tensor", W, 1, 1, 3), node("c", "aten.linear.default", X, turned)),
        (node("t", "aten.unsqueeze.default", W, 0), node("c", "aten.bmm.default", turned, X)),
        (
            node("t", "aten._to_copy.default", W, dtype=Dtype("bfloat16")),
            node("c", "aten.mm.default", turned, X),
        ),
    ):
        graph = _graph(view, use)
        assert quantizable_states(graph) == ("w",)
        assert [item.node for item in weight_uses(graph)["w"]] == [1]


def test_a_transposed_convolution_in_groups_is_followed_through_its_turn() -> None:
    back = (
        node("a", "aten.reshape.default", W, (2, 3, 2, 5)),
        node("b", "aten.permute.default", ValueRef("a"), (0, 2, 1, 3)),
        node("t", "aten.reshape.default", ValueRef("b"), (4, 3, 5)),
    )
    graph = _graph(*back, _convolution(ValueRef("t"), transposed=True, groups=2), shape=(6, 2, 5))
    assert weight_uses(graph) == {"w": (WeightUse("convolution", 1, 3),)}
    other_groups = _graph(*back, _convolution(ValueRef("t"), transposed=True, groups=1), shape=(6, 2, 5))
    assert quantizable_states(other_groups) == ()


def test_pieces_of_a_split_weight_are_its_uses() -> None:
    split = node("s", "aten.split_with_sizes.default", W, (1, 3))
    pieces = [node(f"p{index}", "getitem", ValueRef("s"), index) for index in range(2)]
    uses = [node(f"y{index}", "aten.linear.default", X, ValueRef(f"p{index}")) for index in range(2)]
    assert quantizable_states(_graph(split, *pieces, *uses)) == ("w",)
    whole = node("z", "aten.cat.default", ValueRef("s"))
    assert quantizable_states(_graph(split, *pieces, *uses, whole)) == ()


def test_rows_that_are_no_output_channels_are_no_use_as_a_weight() -> None:
    for use in (
        node("c", "aten.matmul.default", X, W),
        node("c", "aten.linear.default", X, ValueRef("t")),
        node("c", "aten.bmm.default", X, ValueRef("u")),
        node("c", "aten.embedding.default", ValueRef("t"), X),
    ):
        turned = node("t", "aten.permute.default", W, (1, 0))
        batch = node("u", "aten.unsqueeze.default", W, 0)
        assert quantizable_states(_graph(turned, batch, use)) == ()


def test_an_outer_product_has_no_weight() -> None:
    frequencies = node("f", "aten.reshape.default", W, (16, 1))
    assert quantizable_states(_graph(frequencies, node("c", "aten.matmul.default", ValueRef("f"), X))) == ()


def test_words_taken_by_index_are_an_embedding() -> None:
    assert quantizable_states(_graph(node("c", "aten.index.Tensor", W, (X,)))) == ("w",)
    assert quantizable_states(_graph(node("c", "aten.index_select.default", W, 0, X))) == ("w",)
    assert quantizable_states(_graph(node("c", "aten.index.Tensor", W, (None, X)))) == ()
    assert quantizable_states(_graph(node("c", "aten.index_select.default", W, 1, X))) == ()
    assert quantizable_states(_graph(node("c", "aten.index.Tensor", W))) == ()


def test_a_single_element_is_a_weight_like_others() -> None:
    assert quantizable_states(_graph(node("c", "aten.linear.default", X, W), shape=(1, 1))) == ("w",)


def test_a_chain_of_very_many_views_is_not_followed() -> None:
    views = [node("v0", "aten.unsqueeze.default", W, 0)]
    for index in range(1, 2 * MAX_VIEWS, 2):
        views.append(node(f"v{index}", "aten.squeeze.dims", ValueRef(f"v{index - 1}"), (0,)))
        views.append(node(f"v{index + 1}", "aten.unsqueeze.default", ValueRef(f"v{index}"), 0))
    use = node("c", "aten.bmm.default", ValueRef(views[-1].name), X)
    assert quantizable_states(_graph(views[0], node("c", "aten.bmm.default", ValueRef("v0"), X))) == ("w",)
    assert quantizable_states(_graph(*views, use)) == ()


@settings(max_examples=200)
@given(graphs())
def test_graphs_that_make_no_sense_have_uses_too(graph: Graph) -> None:
    uses = weight_uses(graph)
    assert list(uses) == [state.name for state in graph.states]
    assert set(quantizable_states(graph)) <= set(uses)
