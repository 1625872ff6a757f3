from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.graph.inputs import check_inputs
from common.graph.model import Graph, Input

GRAPH = Graph((Input("ids", "int64", (None, 3)), Input("mask", "float32", (None, 3, 2))), (), (), ())


def _good(batch: int = 5) -> dict[str, NDArray[Any]]:
    return {"mask": np.ones((batch, 3, 2), np.float32), "ids": np.ones((batch, 3), np.int64)}


@pytest.mark.parametrize("batch", [1, 5])
def test_inputs_come_back_in_the_graphs_order(batch: int) -> None:
    ids, mask = check_inputs(GRAPH, _good(batch))
    assert (ids.shape, mask.shape) == ((batch, 3), (batch, 3, 2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.ones((5, 3), np.int32)}, "'ids' is int32, expected int64"),
        ({"ids": np.ones((5, 4), np.int64)}, r"\[5, 4\], expected \[batch, 3\]"),
        ({"ids": np.ones(5, np.int64)}, r"\[5\], expected \[batch, 3\]"),
        ({"ids": np.int64(1).reshape(())}, r"\[\], expected \[batch, 3\]"),
        ({"ids": np.ones((0, 3), np.int64)}, r"\[0, 3\], expected \[batch, 3\]"),
        ({"ids": np.ones((4, 3), np.int64)}, "batch sizes differ: {'ids': 4, 'mask': 5}"),
        ({"other": np.ones(1)}, r"takes the inputs \['ids', 'mask'\], not \['ids', 'mask', 'other'\]"),
    ],
)
def test_other_inputs_are_refused_with_expected_and_actual(
    change: dict[str, NDArray[Any]], message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message):
        check_inputs(GRAPH, _good() | change)


def test_a_missing_input_is_named() -> None:
    with pytest.raises(InvalidInputError, match=r"not \['ids'\]"):
        check_inputs(GRAPH, {"ids": np.ones((5, 3), np.int64)})
