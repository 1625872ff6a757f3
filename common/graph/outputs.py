"""Whether a model's answer is what its graph says it is: what devices tell their callers beforehand."""

from __future__ import annotations

from collections.abc import Sequence

from common.errors import InvalidInputError
from common.graph.inputs import fits, shape_text
from common.graph.model import Graph


def check_outputs(graph: Graph, outputs: Sequence[tuple[str, Sequence[int]]]) -> None:
    """Accept the dtypes and shapes of an answer, in the graph's order.

    Raises:
        InvalidInputError: One is not what the graph states.
    """
    for stated, (dtype, shape) in zip(graph.outputs, outputs, strict=True):
        if dtype != stated.dtype or not fits(stated.shape, shape):
            raise InvalidInputError(
                f"Output {stated.name!r} is {dtype} {list(shape)}"
                f" where the graph states {stated.dtype} {shape_text(stated.shape)}.",
                advice="Export the model again.",
            )
