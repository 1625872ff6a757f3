from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.graph.model import Range, ValueRef
from common.graph.ranges import grid_of, origins, ranges_by_value
from tests.support.graphs import chain, node

ARRANGED = chain(
    node("wide", "aten.linear.default", ValueRef("x")),
    node("rows", "aten.reshape.default", ValueRef("wide"), (-1, 2, 2)),
    node("turned", "aten.transpose.int", ValueRef("rows"), 1, 2),
    node("halves", "aten.split.Tensor", ValueRef("turned"), 1, 1),
    node("half", "getitem", ValueRef("halves"), 0),
    node("best", "aten.max_pool2d_with_indices.default", ValueRef("half"), (1, 1)),
    node("best_at", "getitem", ValueRef("best"), 1),
    node("y0", "aten.relu.default", ValueRef("half")),
    node("size", "aten.sym_size.int", ValueRef("y0"), 0),
    node("made", "aten.full.default", (ValueRef("size"),), 1),
)


def test_values_that_arrange_another_s_numbers_anew_lead_back_to_it() -> None:
    assert origins(ARRANGED) == dict.fromkeys(("rows", "turned", "halves", "half"), "wide")


def test_they_have_its_range_unless_they_have_their_own() -> None:
    ranges = (Range("wide", -1.0, 2.0), Range("y0", 0.0, 2.0), Range("turned", -1.0, 1.0))
    by_value = ranges_by_value(replace(ARRANGED, ranges=ranges))
    assert by_value == {
        "wide": ranges[0],
        "rows": ranges[0],
        "turned": ranges[2],
        "halves": ranges[0],
        "half": ranges[0],
        "y0": ranges[1],
    }
    assert ranges_by_value(ARRANGED) == {}


@given(st.floats(-1e30, 0), st.floats(1e-30, 1e30))
def test_a_grid_meets_zero_and_reaches_both_ends_within_half_a_step(low: float, high: float) -> None:
    grid = grid_of(low, high)
    assert -128 <= grid.zero_point <= 127
    assert (-128 - grid.zero_point) * grid.scale == pytest.approx(low, abs=0.501 * grid.scale)
    assert (127 - grid.zero_point) * grid.scale == pytest.approx(high, abs=0.501 * grid.scale)


def test_one_sided_ranges_spend_all_codes_on_their_side() -> None:
    assert (grid_of(0.0, 2.55).zero_point, grid_of(-2.55, 0.0).zero_point) == (-128, 127)
