from __future__ import annotations

from hypothesis import given

from common.graph.left_float import LeftFloat, float_states
from common.graph.model import Graph, Node, Output, State, StateRef, ValueRef
from common.graph.uses import quantizable_states
from tests.support.graphs import chain, graphs, node

X, W = ValueRef("x"), StateRef("w")
LINEAR = node("y", "aten.linear.default", X, W)


def _reason(*nodes: Node, shape: tuple[int, ...] = (4, 4), dtype: str = "float32") -> str:
    (left,) = float_states(chain(*nodes, states=(State("w", dtype, shape),)))
    return left.reason


def test_a_weight_is_not_listed() -> None:
    assert float_states(chain(LINEAR, states=(State("w", "float32", (4, 4)),))) == ()


def test_type_and_shape_are_reasons() -> None:
    assert _reason(LINEAR, dtype="int64") == "integer or boolean"
    assert _reason(LINEAR, dtype="bool") == "integer or boolean"
    assert _reason(LINEAR, shape=(4, 0)) == "no elements"
    assert _reason(LINEAR, shape=()) == "a single number"
    assert _reason(LINEAR, shape=(4,)) == "bias or norm: one axis"
    assert _reason(LINEAR, shape=(1,)) == "bias or norm: one axis"


def test_another_use_is_named_with_its_layer() -> None:
    multiplied = node("z", "aten.mul.Tensor", X, W)
    assert _reason(LINEAR, multiplied) == "used by aten.mul.Tensor in layer 'a.b' as a plain tensor"
    viewed = (node("v", "aten.unsqueeze.default", W, 0), node("z", "aten.cat.default", (ValueRef("v"), X)))
    assert _reason(*viewed) == "used by aten.cat.default in layer 'a.b' as a plain tensor"
    top = node("z", "aten.mul.Tensor", X, W, layer="")
    assert _reason(top) == "used by aten.mul.Tensor in the model itself as a plain tensor"
    assert _reason(node("z", "aten.relu.default", X)) == "used by no operator"


def test_an_answer_of_the_model_is_a_reason() -> None:
    graph = chain(LINEAR, states=(State("w", "float32", (4, 4)),))
    graph = Graph(graph.inputs, graph.states, graph.nodes, (Output("w", W, "float32", (4, 4)),))
    assert float_states(graph) == (LeftFloat("w", 64, "is an answer of the model itself"),)


def test_uses_that_contradict_each_other_are_named() -> None:
    back = node("z", "aten.matmul.default", X, W)
    assert _reason(LINEAR, back) == (
        "aten.linear.default in layer 'a.b' and aten.matmul.default in layer 'a.b'"
        " have other axes of it as output channels"
    )
    assert (
        _reason(back) == "its rows (axis 0) are not the output channels of aten.matmul.default in layer 'a.b'"
    )


def test_a_weight_that_is_computed_at_run_time_is_told_from_a_plain_tensor() -> None:
    norm = node("n", "aten.linalg_vector_norm.default", W)
    scaled = node("s", "aten.div.Tensor", W, ValueRef("n"))
    linear = node("y", "aten.linear.default", X, ValueRef("s"))
    assert _reason(norm, scaled, linear) == (
        "a weight is computed from it at run time, by aten.linalg_vector_norm.default in layer 'a.b'"
    )
    plain = node("y", "aten.add.Tensor", X, ValueRef("s"))
    assert _reason(norm, scaled, plain).endswith("as a plain tensor")


def test_the_largest_come_first_with_the_bytes_that_are_stored() -> None:
    states = (
        State("b", "float32", (4,)),
        State("a", "bfloat16", (4,)),
        State("h", "float16", (5,)),
        State("i", "int64", (3,)),
    )
    left = float_states(chain(node("y", "aten.relu.default", X), states=states))
    assert [(item.name, item.size_bytes) for item in left] == [("i", 24), ("a", 16), ("b", 16), ("h", 10)]


@given(graphs())
def test_every_state_is_quantized_or_listed_with_a_reason(graph: Graph) -> None:
    left = float_states(graph)
    assert {item.name for item in left} | set(quantizable_states(graph)) == {
        item.name for item in graph.states
    }
    assert len(left) + len(quantizable_states(graph)) == len(graph.states)
    assert all(item.reason and item.size_bytes >= 0 for item in left)
    assert [item.size_bytes for item in left] == sorted((item.size_bytes for item in left), reverse=True)
