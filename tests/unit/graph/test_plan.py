from __future__ import annotations

from hypothesis import given, settings

from common.graph.model import Graph, State, StateRef, ValueRef
from common.graph.plan import HOLD_NODES, HOLD_STEP_NODES, STEPS, lifetimes, passing_states
from common.graph.uses import quantizable_states
from tests.support.graphs import chain, graphs, node

X, W = ValueRef("x"), StateRef("w")
WEIGHT = (State("w", "float32", (4, 4)),)


def _apart(distance: int) -> Graph:
    linear = [node("first", "aten.linear.default", X, W)]
    between = [node(f"n{index}", "aten.relu.default", X) for index in range(distance - 1)]
    return chain(*linear, *between, node("last", "aten.linear.default", X, W), states=WEIGHT)


def test_a_value_ends_with_its_last_reader() -> None:
    graph = chain(node("a", "aten.relu.default", X), node("b", "aten.add.Tensor", ValueRef("a"), X))
    assert [life.frees for life in lifetimes(graph)] == [(), ("x", "a")]


def test_a_state_is_held_while_its_next_use_is_near() -> None:
    lives = lifetimes(_apart(HOLD_NODES))
    assert (lives[0].holds, lives[0].drops) == (frozenset({"w"}), ())
    assert (lives[-1].holds, lives[-1].drops) == (frozenset(), ("w",))


def test_a_state_is_dropped_when_its_next_use_is_far() -> None:
    lives = lifetimes(_apart(HOLD_NODES + 1))
    assert (lives[0].holds, lives[0].drops) == (frozenset(), ("w",))


def _steps(distance: int, times: int) -> Graph:
    """A state that is read several times, so many nodes apart."""
    nodes = [
        node(f"n{index}", "aten.relu.default", X)
        if index % distance
        else node(f"n{index}", "aten.linear.default", X, W)
        for index in range(distance * (times - 1) + 1)
    ]
    return chain(*nodes, states=WEIGHT)


def test_a_state_that_is_read_step_after_step_is_held_over_longer_steps() -> None:
    def held(graph: Graph) -> int:
        return sum("w" in life.holds for life in lifetimes(graph))

    assert held(_steps(HOLD_STEP_NODES, STEPS)) == STEPS - 1
    assert held(_steps(HOLD_STEP_NODES + 1, STEPS)) == 0
    assert held(_steps(HOLD_NODES + 1, STEPS - 1)) == 0


TWO = (*WEIGHT, State("v", "float32", (4, 4)))
V = StateRef("v")


def test_weights_that_are_read_once_and_directly_pass() -> None:
    one = node("a", "aten.linear.default", X, W)
    graph = chain(one, node("b", "aten.linear.default", ValueRef("a"), V), states=TWO)
    assert passing_states(graph) == {"w", "v"}
    assert passing_states(chain(one, node("b", "aten.linear.default", X, W), states=WEIGHT)) == frozenset()
    assert passing_states(chain(node("a", "aten.add.Tensor", X, W), states=WEIGHT)) == frozenset()


def test_a_weight_passes_while_a_view_of_it_waits_only_where_no_other_is_asked_for() -> None:
    turned = node("t", "aten.permute.default", W, (1, 0))
    product = node("p", "aten.matmul.default", X, ValueRef("t"))
    other = node("o", "aten.linear.default", X, V)
    assert passing_states(chain(turned, product, other, states=TWO)) == {"w", "v"}
    assert passing_states(chain(other, turned, product, states=TWO)) == {"w", "v"}
    assert passing_states(chain(turned, other, product, states=TWO)) == {"v"}


def test_of_two_weights_of_one_operator_only_the_last_passes() -> None:
    states = (State("w", "float32", (6, 5)), State("v", "float32", (4, 5, 1)))
    graph = chain(node("a", "aten.matmul.default", W, V), states=states)
    assert quantizable_states(graph) == ("w", "v")
    assert passing_states(graph) == {"v"}


@settings(max_examples=50)
@given(graphs())
def test_every_value_but_the_outputs_ends_once_after_its_last_reader(graph: Graph) -> None:
    alive = {item.name for item in graph.inputs}
    for current, life in zip(graph.nodes, lifetimes(graph), strict=True):
        assert {item.name for item in current.references() if isinstance(item, ValueRef)} <= alive
        alive.add(current.name)
        assert len(set(life.frees)) == len(life.frees)
        alive -= set(life.frees)
    read = {
        item.name for current in graph.nodes for item in current.references() if isinstance(item, ValueRef)
    }
    outputs = {output.source.name for output in graph.outputs}
    assert alive - outputs <= {item.name for item in graph.inputs} - read
    assert outputs <= alive
