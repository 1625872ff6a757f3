"""Codes on the symmetric grid of kernels, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.rows import Affine
from device_agent.inference.integer import regrid as module
from device_agent.inference.integer.regrid import Regrid, regrid
from device_agent.inference.integer.rows import HeldRows

LEVELS = range(2, 9)
# A value is off by its rounding and the dither, a step of its own grid at most, and by what rounding the
# row's intercept makes, half of 1/128 of a step.
STEPS = 1 + 1 / 128
CUT = 0.2501  # mean square error in steps, of rows of which some weights are cut
FEWEST = 16  # columns that are dithered


@dataclass(frozen=True)
class Rows:
    """Codes of some rows and what they stand for."""

    level: int
    unsigned: NDArray[np.uint8]
    affine: Affine

    def weights(self) -> NDArray[np.float64]:
        codes = self.unsigned.astype(np.float64) - (1 << (self.level - 1))
        return codes * self.affine.scale[:, None].astype(np.float64) + self.affine.offset[:, None]

    def regrid(self) -> tuple[NDArray[np.int8], NDArray[np.float32], Regrid] | None:
        values = np.empty(self.unsigned.shape, np.int8)
        found = regrid(self.unsigned, self.level, self.affine, HeldRows(values))
        return found and (values, *found)


def rows(
    level: int, shape: tuple[int, int], shift: NDArray[np.float64], seed: int, kind: str = "any"
) -> Rows:
    """Random rows whose offset is ``shift`` codes."""
    random = np.random.default_rng(seed)
    most = (1 << level) - 1
    unsigned = random.integers(0, most + 1, shape, dtype=np.uint8)
    half = most // 2
    match kind:
        case "constant":
            unsigned[:] = unsigned[:, :1]
        case "upper":
            unsigned[:] = np.maximum(unsigned, half)
        case "lower":
            unsigned[:] = np.minimum(unsigned, half)
        case "ends":
            unsigned[:] = np.where(unsigned > half, most, 0)
    scale = random.uniform(1e-6, 10, shape[0]).astype(np.float32)
    return Rows(level, unsigned, Affine(scale, (scale * shift).astype(np.float32)))


def codes_of(values: NDArray[np.int8], how: Regrid) -> NDArray[np.uint8]:
    unsigned = np.empty(values.shape, np.uint8)
    module.codes_of(HeldRows(values), how, unsigned)
    return unsigned


@st.composite
def any_rows(draw: st.DrawFn) -> Rows:
    """Any level, any shift up to the most that a zero point or a part-bit level has, and beyond."""
    level = draw(st.sampled_from(LEVELS))
    shape = draw(st.tuples(st.integers(1, 5), st.sampled_from([1, 2, 9, 15, 16, 17, 64, 257])))
    half = 1 << (level - 1)
    shifts = st.one_of(
        st.floats(-1.25 * half, 1.25 * half),
        st.sampled_from([0.0, 0.5, -0.5, half, -half, half - 1, 1.0 - half, 0.46875, 31 / 32]),
    )
    shift = np.array(draw(st.lists(shifts, min_size=shape[0], max_size=shape[0])))
    kind = draw(st.sampled_from(["any", "constant", "upper", "lower", "ends"]))
    return rows(level, shape, shift, draw(st.integers(0, 99)), kind)


@settings(max_examples=400, deadline=None)
@given(any_rows())
def test_values_lead_back_to_their_codes(case: Rows) -> None:
    found = case.regrid()
    if found is None:  # allowed where int8 cannot hold the row; see below for where it must
        codes = case.unsigned.astype(np.float64) - (1 << (case.level - 1))
        reach = np.abs(codes + (case.affine.offset / case.affine.scale)[:, None]).max()
        assert reach > 126  # of 127
        return
    values, _, how = found
    np.testing.assert_array_equal(codes_of(values, how), case.unsigned)


@pytest.mark.parametrize("level", range(2, 7))  # at seven bits none is stretched that far
@pytest.mark.parametrize("kind", ["any", "ends"])
def test_codes_come_back_from_rows_of_every_slope_side_by_side(level: int, kind: str) -> None:
    """Some lead back by a multiple, others, stretched least, only by a division; in chunks of both."""
    half = 1 << (level - 1)
    shift = np.linspace(-0.9, 0.9, 700) * (120 - half)
    case = rows(level, (700, 600), np.random.default_rng(5).permutation(shift), seed=6, kind=kind)
    found = case.regrid()
    assert found is not None
    slope = found[2].slope
    assert slope.min() < 258 < slope.max()
    np.testing.assert_array_equal(codes_of(found[0], found[2]), case.unsigned)


@settings(max_examples=400, deadline=None)
@given(any_rows())
def test_values_are_within_a_step_of_the_weights(case: Rows) -> None:
    """But for weights of the full level that are cut, which cost a row no more than rounding would."""
    found = case.regrid()
    if found is None:
        return
    values, scale, _ = found
    error = np.abs(values * scale[:, None].astype(np.float64) - case.weights()) / scale[:, None]
    near = (error <= STEPS).all(axis=1)
    assert (near | ((error**2).mean(axis=1) <= CUT)).all()
    assert near.all() or case.level == 8


@pytest.mark.parametrize("zero", [-128, -127, -126, -1, 0, 1, 127])
@pytest.mark.parametrize("columns", [1, 9, 15, 16, 300])
def test_every_zero_point_of_the_full_level_fits(zero: int, columns: int) -> None:
    """But for rows above zero that use every code, where the dither leaves them no room."""
    if columns >= FEWEST and zero == -128:
        case = rows(8, (300, columns), np.full(300, 128.0), seed=1, kind="ends")
        assert case.regrid() is None
        return
    case = rows(8, (300, columns), np.full(300, -float(zero)), seed=1)
    found = case.regrid()
    assert found is not None
    np.testing.assert_array_equal(codes_of(found[0], found[2]), case.unsigned)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("columns", [9, 64])
def test_rows_of_all_codes_use_three_quarters_of_int8(level: int, columns: int) -> None:
    case = rows(level, (8, columns), np.full(8, 0.5), seed=2, kind="ends")
    found = case.regrid()
    assert found is not None
    assert int(np.abs(found[0].astype(int)).max()) >= 96


@pytest.mark.parametrize("level", LEVELS)
def test_rows_of_zeros_stay_zeros(level: int) -> None:
    half = 1 << (level - 1)
    for columns in (9, 64):
        unsigned = np.full((3, columns), half, np.uint8)
        ones = np.ones(3, np.float32)
        case = Rows(level, unsigned, Affine(ones, np.zeros(3, np.float32)))
        found = case.regrid()
        assert found is not None
        assert not found[0].any()
        np.testing.assert_array_equal(codes_of(found[0], found[2]), unsigned)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["constant", "any", "upper"])
def test_sums_of_rows_are_kept(level: int, kind: str) -> None:
    """Within four times what rounding without any bias would scatter them, and 1/64 of a step a weight."""
    columns = 1024
    shift = np.random.default_rng(3).uniform(-0.9, 0.9, 64)
    case = rows(level, (64, columns), shift, seed=4, kind=kind)
    found = case.regrid()
    assert found is not None
    values, scale, _ = found
    error = np.abs((values * scale[:, None].astype(np.float64) - case.weights()).sum(1))
    assert (error <= scale * (4 * np.sqrt(columns / 12) + columns / 64)).all()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    ("scale", "offset"),
    [
        (1.0, 1000.0),
        (1.0, -1e30),
        (1e-38, 1.0),
        (0.0, 1.0),
        (1.0, float("inf")),
        (1.0, float("nan")),
        (float("inf"), 1.0),
    ],
)
def test_offsets_far_beyond_the_codes_are_left_to_floats(level: int, scale: float, offset: float) -> None:
    case = rows(level, (2, 32), np.zeros(2), seed=5)
    affine = Affine(np.array([1.0, scale], np.float32), np.array([0.0, offset], np.float32))
    found = Rows(level, case.unsigned, affine).regrid()
    if np.isinf(scale):  # its shift is zero: whatever it stands for, its codes come back
        assert found is None or (codes_of(found[0], found[2]) == case.unsigned).all()
        return
    assert found is None


def test_many_rows_come_back_in_chunks_of_any_size() -> None:
    """Rows with a zero point beside rows without, so that some chunks hold doubts and others none."""
    shift = np.zeros(700)
    shift[300:310] = -127.0
    shift[699] = 120.0
    case = rows(8, (700, 1000), shift, seed=6)
    found = case.regrid()
    assert found is not None
    values, _, how = found
    np.testing.assert_array_equal(codes_of(values, how), case.unsigned)
    doubtful = int((how.slope < 128).sum()) * 1000
    assert how.size_bytes <= 4 * 700 + doubtful // 8 + 1


def test_a_single_huge_row_comes_back() -> None:
    case = rows(8, (1, 200_000), np.array([-77.0]), seed=7)
    found = case.regrid()
    assert found is not None
    np.testing.assert_array_equal(codes_of(found[0], found[2]), case.unsigned)
