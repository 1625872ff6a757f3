"""Rows of floats on grids of their own."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from device_agent.inference.integer.engines.port import EightBit
from device_agent.inference.integer.row_codes import RowCodes, row_codes, rows_of

# Of a step, between a number and its code; the rest is rounding of float32.
HALF_A_STEP = 0.501

ROWS = npst.arrays(
    np.float32,
    st.tuples(st.integers(1, 4), st.integers(1, 40)),
    elements=st.floats(-1e6, 1e6, width=32),
)


def floats_of(rows: RowCodes) -> torch.Tensor:
    return (rows.codes.double() + rows.terms[:, :1].double()) * rows.scale.double()


@settings(deadline=None)
@given(ROWS, st.integers(-30, 30))
def test_every_number_is_met_within_half_a_step_of_its_row(values: np.ndarray, exponent: int) -> None:
    tensor = torch.from_numpy(values * np.float32(2.0**exponent))
    rows = row_codes(tensor)
    error = (floats_of(rows) - tensor.double()).abs() / rows.scale
    assert float(error.max()) <= HALF_A_STEP


@settings(deadline=None)
@given(ROWS)
def test_zero_is_met_exactly(values: np.ndarray) -> None:
    values[:, 0] = 0
    rows = row_codes(torch.from_numpy(values))
    assert torch.equal(floats_of(rows)[:, 0], torch.zeros(len(values), dtype=torch.float64))


@pytest.mark.parametrize(
    "ends", [(-1.0, 1.0), (-3.0, 3.0), (-1.5, 253.5), (-253.5, 1.5), (0.0, 7.0), (-7.0, 0.0)]
)
def test_ends_that_lie_a_half_beside_the_zero_stay_apart(ends: tuple[float, float]) -> None:
    low, high = ends
    for columns in (2, 7, 8, 31, 64):
        tensor = torch.full((1, columns), low)
        tensor[0, columns // 2 :] = high
        rows = row_codes(tensor)
        assert (floats_of(rows) - tensor).abs().max() <= HALF_A_STEP * rows.scale.max()


def test_a_row_uses_all_codes_whatever_other_rows_are() -> None:
    rows = row_codes(torch.tensor([[0.0, 1e-3, 4.99e-4], [-1e5, 1e5, 3.0]]))
    assert rows.codes.tolist()[0] == [0, 255, 127]
    assert {int(rows.codes[1].min()), int(rows.codes[1].max())} <= {0, 1, 254, 255}


def test_rows_of_zeros_are_zeros() -> None:
    rows = row_codes(torch.zeros(2, 5))
    assert not floats_of(rows).any()
    assert torch.isfinite(rows.terms).all()


def test_huge_numbers_stay_finite() -> None:
    tensor = torch.tensor([[1e38, -1e38, 0.0, 5e37]])
    assert (floats_of(row_codes(tensor)) - tensor).abs().max() <= 0.51 * 2e38 / 255


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_no_number_spoils_its_row_alone(bad: float) -> None:
    rows = row_codes(torch.tensor([[1.0, bad, 2.0], [1.0, 2.0, 4.0]]))
    found = floats_of(rows)
    assert not torch.isfinite(found[0]).any()
    torch.testing.assert_close(found[1], torch.tensor([1.0, 2.0, 4.0]).double(), atol=0.01, rtol=0)


def test_no_rows_are_no_rows() -> None:
    rows = row_codes(torch.zeros(0, 4))
    assert rows.codes.shape == (0, 4)
    assert rows.terms.shape == (0, 3)


def test_axes_before_the_columns_are_remembered() -> None:
    rows = row_codes(torch.rand(2, 3, 5))
    assert rows.lead == (2, 3)
    assert rows.codes.shape == (6, 5)


@settings(deadline=None)
@given(ROWS)
def test_terms_say_what_sums_of_products_lack(values: np.ndarray) -> None:
    """The layer's own terms are sums of its values, offset and bias: any of them must come out right."""
    tensor = torch.from_numpy(values)
    rows = row_codes(tensor)
    zero, total, inverse = rows.terms.double().unbind(1)
    torch.testing.assert_close(total, (rows.codes.double() + zero[:, None]).sum(1))
    torch.testing.assert_close(inverse * rows.scale[:, 0].double(), torch.ones(len(values)).double())


def test_codes_that_are_8_bit_already_stay_as_they_are() -> None:
    codes = torch.randint(0, 256, (2, 3, 7), dtype=torch.uint8)
    rows = rows_of(EightBit(codes, 0.25, 17))
    assert torch.equal(rows.codes.view(2, 3, 7), codes)
    expected = EightBit(codes, 0.25, 17).floats().reshape(6, 7)
    torch.testing.assert_close(floats_of(rows).float(), expected)
    torch.testing.assert_close(rows.terms[:, 1] * rows.scale[:, 0], expected.sum(1))
