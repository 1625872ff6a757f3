"""Whether a request's tensors are what the graph takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.model import Graph, Input, Shape


def check_inputs(graph: Graph, inputs: Mapping[str, NDArray[Any]]) -> tuple[NDArray[Any], ...]:
    """A request's arrays in the graph's order.

    Args:
        graph: What is computed.
        inputs: Name to array; axis 0 is the batch, of equal size in all.

    Raises:
        InvalidInputError: A name, dtype, shape or batch size is not what the graph takes.
    """
    expected = [item.name for item in graph.inputs]
    if set(inputs) != set(expected):
        raise InvalidInputError(f"The model takes the inputs {expected}, not {sorted(inputs)}.")
    for item in graph.inputs:
        _check_one(item, inputs[item.name])
    batches = {item.name: len(inputs[item.name]) for item in graph.inputs}
    if len(set(batches.values())) > 1:
        raise InvalidInputError(f"The inputs' batch sizes differ: {batches}.")
    return tuple(inputs[name] for name in expected)


def shape_text(shape: Shape) -> str:
    """A shape as people read it, e.g. "[batch, 3, 32, 32]"."""
    return f"[{', '.join('batch' if size is None else str(size) for size in shape)}]"


def fits(expected: Shape, actual: Sequence[int]) -> bool:
    """Whether a shape is the expected one, whose open sizes take any."""
    return len(expected) == len(actual) and all(
        wanted in (None, size) for wanted, size in zip(expected, actual, strict=True)
    )


def _check_one(expected: Input, actual: NDArray[Any]) -> None:
    if actual.dtype.name != expected.dtype:
        raise InvalidInputError(f"Input {expected.name!r} is {actual.dtype.name}, expected {expected.dtype}.")
    if not fits(expected.shape, actual.shape) or not actual.size:
        raise InvalidInputError(
            f"Input {expected.name!r} has the shape {list(actual.shape)},"
            f" expected {shape_text(expected.shape)}."
        )
