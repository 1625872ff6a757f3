from __future__ import annotations

from hypothesis import given, settings

from common.graph.model import Graph, State, StateRef, ValueRef
from common.graph.plan import HOLD_NODES, lifetimes
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
