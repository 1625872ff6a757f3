from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from common.errors import CapacityError, IntegrityError, InvalidInputError, UnsupportedModelError
from common.graph.build import build
from common.graph.model import Dtype, Graph, MemoryFormat, Node, Output, State, StateRef, ValueRef
from tests.support.graphs import Tensors, chain, node

X = ValueRef("x")
SQUARES = tuple(State(f"w{index}", "float32", (4, 4)) for index in range(50))


def _deep(states: tuple[State, ...]) -> Graph:
    """One linear layer per state, one after the other."""
    names = ["x", *(f"h{index}" for index in range(len(states)))]
    nodes = (
        node(after, "aten.linear.default", ValueRef(before), StateRef(state.name))
        for before, after, state in zip(names, names[1:], states, strict=False)
    )
    return chain(*nodes, states=states)


def _weights(states: tuple[State, ...]) -> Tensors:
    return Tensors({state.name: torch.randn(state.shape) / 2 for state in states})


def test_layers_follow_each_other() -> None:
    source, x = _weights(SQUARES), torch.randn(3, 4)
    (actual,) = build(_deep(SQUARES))(source, x)
    expected = x
    for weight in source.tensors.values():
        expected = expected @ weight.T
    torch.testing.assert_close(actual, expected)
    assert source.asked == [state.name for state in SQUARES]


class Watching(Tensors):
    """Counts how many of the tensors that it gave out are alive."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        super().__init__(tensors)
        self.given: list[weakref.ref[torch.Tensor]] = []
        self.most_alive = 0

    def tensor(self, name: str) -> torch.Tensor:
        tensor = super().tensor(name)
        self.given.append(weakref.ref(tensor))
        self.most_alive = max(self.most_alive, sum(item() is not None for item in self.given))
        return tensor


def test_one_layers_weights_are_alive_at_a_time() -> None:
    source = Watching(_weights(SQUARES).tensors)
    build(_deep(SQUARES))(source, torch.randn(3, 4))
    gc.collect()
    assert source.most_alive == 1
    assert all(item() is None for item in source.given)


def test_a_shared_weight_is_loaded_once_for_near_uses_and_again_for_far_ones() -> None:
    near = _deep((SQUARES[0],) * 20)
    near = Graph(near.inputs, (SQUARES[0],), near.nodes, near.outputs)
    source = _weights(SQUARES)
    build(near)(source, torch.randn(1, 4))
    assert source.asked == ["w0"]
    far = _deep((SQUARES[0], *SQUARES[1:45], SQUARES[0]))
    far = Graph(far.inputs, SQUARES[:45], far.nodes, far.outputs)
    source = _weights(SQUARES)
    build(far)(source, torch.randn(1, 4))
    assert source.asked.count("w0") == 2


def test_an_answer_is_made_node_by_node_and_what_is_alive_can_be_seen() -> None:
    graph, source, x = _deep(SQUARES[:3]), _weights(SQUARES[:3]), torch.randn(3, 4)
    run = build(graph).start(source, x)
    assert dict(run.values) == {"x": x}
    assert source.asked == []
    seen = x
    for index, weight in enumerate(list(source.tensors.values())):
        assert run.advance()
        seen = seen @ weight.T
        assert list(run.values) == [f"h{index}"]
        torch.testing.assert_close(run.values[f"h{index}"], seen)
        assert source.asked == [state.name for state in SQUARES[: index + 1]]
    assert not run.advance()
    assert not run.advance()
    assert torch.equal(run.fill(graph.outputs[0].source), build(graph)(source, x)[0])


def test_answers_of_one_runner_go_on_side_by_side() -> None:
    graph, x = _deep(SQUARES[:3]), torch.randn(3, 4)
    runner = build(graph)
    sources = [_weights(SQUARES[:3]) for _ in range(2)]
    runs = [runner.start(source, x) for source in sources]
    for _ in graph.nodes:
        assert all(run.advance() for run in runs)
    for run, source in zip(runs, sources, strict=True):
        assert torch.equal(run.values["h2"], runner(source, x)[0])


def test_a_run_takes_as_many_inputs_as_the_graph() -> None:
    with pytest.raises(InvalidInputError, match="takes 1 inputs, not 2"):
        build(_deep(SQUARES[:1])).start(_weights(SQUARES[:1]), torch.zeros(1, 4), torch.zeros(1, 4))


def test_threads_share_a_runner() -> None:
    runner, source = build(_deep(SQUARES[:5])), _weights(SQUARES[:5])
    inputs = [torch.randn(batch, 4) for batch in range(1, 17)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: runner(source, x)[0], inputs))
    for x, answer in zip(inputs, together, strict=True):
        torch.testing.assert_close(answer, runner(source, x)[0])


def test_floats_are_cast_to_what_the_graph_states() -> None:
    graph = chain(
        node("h", "aten.add.Tensor", X, StateRef("w"), alpha=2),
        node("y0", "aten._to_copy.default", ValueRef("h"), dtype=Dtype("float16")),
        node(
            "y1", "aten.full_like.default", ValueRef("y0"), 1, memory_format=MemoryFormat("preserve_format")
        ),
        states=(State("w", "float64", (4,)),),
    )
    graph = Graph(
        graph.inputs, graph.states, graph.nodes, (*graph.outputs, Output("h", ValueRef("h"), "float64", ()))
    )
    first, second = build(graph)(Tensors({"w": torch.ones(4)}), torch.zeros(2, 4))
    assert (first.dtype, second.dtype) == (torch.float16, torch.float64)
    assert second.eq(2).all()


def test_who_watches_sees_inputs_and_tensors_in_order_and_changes_nothing() -> None:
    graph = chain(
        node("size", "aten.sym_size.int", X, 1),
        node("halves", "aten.split.Tensor", X, 2, 1),
        node("half", "getitem", ValueRef("halves"), 1),
        node("y0", "aten.add.Tensor", ValueRef("half"), ValueRef("size")),
    )
    seen: dict[str, torch.Tensor] = {}
    x = torch.randn(3, 4)
    (watched,) = build(graph)(Tensors({}), x, watch=seen.__setitem__)
    assert list(seen) == ["x", "half", "y0"]
    assert seen["x"] is x
    assert seen["y0"] is watched
    assert build(graph)(Tensors({}), x)[0].equal(watched)


def test_what_a_watch_raises_ends_the_run() -> None:
    def refuse(name: str, _value: torch.Tensor) -> None:
        raise CapacityError(name)

    with pytest.raises(CapacityError, match="x"):
        build(_deep(SQUARES[:1]))(_weights(SQUARES), torch.ones(1, 4), watch=refuse)


def test_states_and_inputs_may_be_outputs() -> None:
    graph = _deep(SQUARES[:1])
    outputs = (Output("a", StateRef("w0"), "float32", (4, 4)), Output("b", X, "float32", (None, 4)))
    source, x = _weights(SQUARES[:1]), torch.randn(2, 4)
    weight, same = build(Graph(graph.inputs, graph.states, graph.nodes, outputs))(source, x)
    assert weight.equal(source.tensors["w0"])
    assert same.equal(x)


def test_a_state_of_another_shape_is_refused() -> None:
    with pytest.raises(IntegrityError, match="'w0' has another shape") as caught:
        build(_deep(SQUARES[:1]))(Tensors({"w0": torch.ones(4, 5)}), torch.ones(1, 4))
    assert (caught.value.expected, caught.value.actual) == ("[4, 4]", "[4, 5]")


def test_the_number_of_inputs_is_checked() -> None:
    with pytest.raises(InvalidInputError, match="takes 1 inputs, not 2"):
        build(_deep(SQUARES[:1]))(_weights(SQUARES), torch.ones(1, 4), torch.ones(1, 4))


@pytest.mark.parametrize(
    "hostile",
    [
        node("y0", "aten.linear.default", X),
        node("y0", "aten.relu.default", "text"),
        node("y0", "aten.relu.default", X, nonsense=1),
        node("y0", "aten.reshape.default", X, (3, 5, 7)),
        node("y0", "aten.select.int", X, 9, 0),
        node("y0", "aten.permute.default", X, (0, 0)),
        node("y0", "getitem", (X, X), 5),
        node("y0", "getitem", X, "a"),
        node("y0", "getitem", None, 0),
        node("y0", "sym.mul", "a" * 500, 2**62),
        node("y0", "sym.floordiv", 1, 0),
        node("y0", "sym.neg", X),
        node("y0", "aten.sym_size.int", X, 0),
        node("y0", "aten.split.Tensor", X, 1, 1),
        node("y0", "aten.full.default", (2**62, 2**62), 1),
        node("y0", "aten.arange.default", float("inf")),
        node("y0", "aten.embedding.default", X, X),
    ],
)
def test_a_graph_that_makes_no_sense_fails_with_operator_and_layer(hostile: Node) -> None:
    with pytest.raises(UnsupportedModelError, match=r"'a\.b'|no tensor"):
        build(chain(hostile))(Tensors({}), torch.ones(2, 4))


def test_more_memory_than_there_is_is_a_capacity_error() -> None:
    with pytest.raises(CapacityError, match=r"aten\.full\.default"):
        build(chain(node("y0", "aten.full.default", (2**46,), 1)))(Tensors({}), torch.ones(2, 4))


def test_an_operator_outside_the_list_is_refused_when_it_is_built() -> None:
    with pytest.raises(UnsupportedModelError, match=r"aten\.relu_\.default"):
        build(chain(node("y0", "aten.relu_.default", X)))


_UNARY: dict[str, Callable[..., torch.Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "exp": torch.exp,
    "gelu": functional.gelu,
    "silu": functional.silu,
    "floor": torch.floor,
    "square": torch.square,
}
_BINARY: dict[str, Callable[..., torch.Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": torch.div,
}


@given(st.data(), st.integers(1, 5))
def test_random_arithmetic_agrees_with_torch(data: st.DataObject, batch: int) -> None:
    nodes: list[Node] = []
    values = {"x": torch.linspace(-1, 1, 4 * batch).reshape(batch, 4)}
    for index in range(data.draw(st.integers(1, 12))):
        operands = data.draw(st.lists(st.sampled_from(sorted(values)), min_size=1, max_size=2))
        table, overload = (_UNARY, "default") if len(operands) == 1 else (_BINARY, "Tensor")
        op = data.draw(st.sampled_from(sorted(table)))
        nodes.append(node(f"n{index}", f"aten.{op}.{overload}", *map(ValueRef, operands)))
        values[f"n{index}"] = table[op](*(values[name] for name in operands))
    (actual,) = build(chain(*nodes))(Tensors({}), values["x"])
    torch.testing.assert_close(actual, values[nodes[-1].name], equal_nan=True)
