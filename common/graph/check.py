"""Whether a graph is whole, and whether given tensors are the ones that it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from common.errors import InvalidInputError
from common.graph.model import FLOAT_DTYPES, Graph, StateRef, ValueRef

# Of a range: a 255th of it is a normal float32 number, and none of it is beyond them.
MIN_SPAN: Final = 1e-35
MAX_SPAN: Final = 1e38


def check_graph(graph: Graph) -> None:
    """Accept a graph whose names are unique and whose references are to something before them.

    Raises:
        InvalidInputError: It is none, or has no input, node or output.
    """
    for what, items in (("input", graph.inputs), ("node", graph.nodes), ("output", graph.outputs)):
        if not items:
            raise InvalidInputError(f"The graph has no {what}.")
    states = _unique(item.name for item in graph.states)
    _unique(item.name for item in graph.outputs)
    values = _unique(item.name for item in graph.inputs)
    for node in graph.nodes:
        for reference in node.references():
            _check_known(reference, values, states)
        if node.name in values:
            raise InvalidInputError(f"The graph names {node.name[:80]!r} twice.")
        values.add(node.name)
    for output in graph.outputs:
        _check_known(output.source, values, states)
    _check_ranges(graph, values)


def check_states(graph: Graph, given: Mapping[str, tuple[str, tuple[int, ...]]]) -> None:
    """Accept a set of tensors that is exactly what the graph names.

    Args:
        graph: What is computed.
        given: Name to dtype, e.g. "float32", and shape.

    Raises:
        InvalidInputError: One is missing, too many, or differs in dtype or shape.
    """
    for state in graph.states:
        expected = (state.dtype, state.shape)
        actual = given.get(state.name)
        if actual is None:
            raise InvalidInputError(f"The graph names tensor {state.name!r}, which the weights do not hold.")
        if actual != expected:
            raise InvalidInputError(
                f"Tensor {state.name!r} is {actual[0]} {list(actual[1])}"
                f" where the graph has {expected[0]} {list(expected[1])}."
            )
    unknown = sorted(set(given) - {state.name for state in graph.states})
    if unknown:
        raise InvalidInputError(f"The weights hold {unknown[0][:80]!r}, which the graph does not name.")


def _unique(names: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InvalidInputError(f"The graph names {name[:80]!r} twice.")
        seen.add(name)
    return seen


def _check_ranges(graph: Graph, values: set[str]) -> None:
    whole_inputs = {item.name for item in graph.inputs if item.dtype not in FLOAT_DTYPES}
    _unique(item.value for item in graph.ranges)
    for item in graph.ranges:
        if item.value not in values or item.value in whole_inputs:
            raise InvalidInputError(
                f"The graph has a range for {item.value[:80]!r}, which is no float value."
            )
        if not (item.low <= 0 <= item.high and MIN_SPAN <= item.high - item.low <= MAX_SPAN):
            raise InvalidInputError(
                f"The range of {item.value[:80]!r}, {item.low} to {item.high}, leaves out zero, "
                "or its span is out of bounds."
            )


def _check_known(reference: ValueRef | StateRef, values: set[str], states: set[str]) -> None:
    if reference.name not in (states if isinstance(reference, StateRef) else values):
        raise InvalidInputError(f"The graph refers to {reference.name[:80]!r}, which does not stand before.")
