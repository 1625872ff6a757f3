"""Codes on the symmetric grid of kernels, and back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.rows import Affine
from device_agent.inference.integer.lanes import Laid, Lanes
from device_agent.inference.integer.regrid import Gridding, Regrid, fit, scale_of

LEVELS = range(2, 9)
# A value is off by its rounding and the dither, a step of its own grid at most, and by what rounding the
# row's intercept makes, half of 1/128 of a step.
STEPS = 1 + 1 / 128
FEWEST = 16  # columns that are dithered
SIDE_BY_SIDE = 48  # rows, as kernels hold them


@dataclass(frozen=True)
class Rows:
    """Codes of some rows and what they stand for."""

    level: int
    unsigned: NDArray[np.uint8]
    affine: Affine

    def weights(self) -> NDArray[np.float64]:
        codes = self.unsigned.astype(np.float64) - (1 << (self.level - 1))
        return codes * self.affine.scale[:, None].astype(np.float64) + self.affine.offset[:, None]

    def regrid(self, *, side_by_side: bool = False) -> Regridded | None:
        """None where int8 cannot hold them."""
        count, columns = self.unsigned.shape
        lanes = Lanes.plain(count, columns)
        if side_by_side:
            lanes = Lanes(count, columns, 1, SIDE_BY_SIDE, 1 if columns % 4 else 4)
        laid = Laid(lanes, np.empty(lanes.shape, np.uint8))
        lanes.write_rows(self.unsigned << np.uint8(8 - self.level), laid.memory)
        levels = np.full(count, self.level, np.uint8)
        how = fit(laid, levels, self.affine, exact=False)
        if how is None:
            return None
        gridding = Gridding(how, laid)
        for chunk in lanes.chunks():
            gridding.values(chunk)
        return Regridded(laid, self.level, how, scale_of(how, levels, self.affine))


@dataclass(frozen=True)
class Regridded:
    """What became of rows."""

    laid: Laid
    level: int
    how: Regrid
    scale: NDArray[np.float32]

    @property
    def values(self) -> NDArray[np.int8]:
        return self.laid.lanes.read_rows(self.laid.memory, self.laid.lanes.rows).view(np.int8)

    def codes(self) -> NDArray[np.uint8]:
        """The codes again."""
        gridding, lanes = Gridding(self.how, self.laid), self.laid.lanes
        out = np.empty_like(self.laid.memory)
        for chunk in reversed(list(lanes.chunks())):
            gridding.codes(chunk, out[chunk.blocks])
        return lanes.read_rows(out, lanes.rows) >> np.uint8(8 - self.level)


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
@given(any_rows(), st.sampled_from(["plain", "side by side"]))
def test_values_lead_back_to_their_codes(case: Rows, order: str) -> None:
    found = case.regrid(side_by_side=order != "plain")
    if found is None:  # allowed where int8 cannot hold the row; see below for where it must
        codes = case.unsigned.astype(np.float64) - (1 << (case.level - 1))
        reach = np.abs(codes + (case.affine.offset / case.affine.scale)[:, None]).max()
        assert reach > 126  # of 127
        return
    np.testing.assert_array_equal(found.codes(), case.unsigned)


@settings(max_examples=100, deadline=None)
@given(any_rows())
def test_where_values_lie_makes_no_difference(case: Rows) -> None:
    one, other = case.regrid(), case.regrid(side_by_side=True)
    assert (one is None) == (other is None)
    if one is None or other is None:
        return
    np.testing.assert_array_equal(one.values, other.values)
    np.testing.assert_array_equal(one.scale, other.scale)
    assert not other.laid.memory.reshape(-1, other.laid.lanes.block, other.laid.lanes.lane)[
        :, len(one.scale) :
    ].any()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["any", "ends"])
def test_codes_come_back_from_rows_of_every_slope_side_by_side(level: int, kind: str) -> None:
    """Some lead back by a subtraction, others, slanted, by a division; in chunks of both."""
    half = 1 << (level - 1)
    shift = np.linspace(-0.6, 0.6, 1400) * half
    case = rows(level, (1400, 600), np.random.default_rng(5).permutation(shift), seed=6, kind=kind)
    found = case.regrid(side_by_side=True)
    assert found is not None
    slanted = found.how.slanted
    assert 0 < slanted.rows.size < 1400
    assert slanted.slope.min() < 0.8 * slanted.slope.max()
    np.testing.assert_array_equal(found.codes(), case.unsigned)


@settings(max_examples=400, deadline=None)
@given(any_rows())
def test_values_are_within_a_step_of_the_weights(case: Rows) -> None:
    """But for weights that are cut, which cost a row no more than rounding would."""
    found = case.regrid()
    if found is None:
        return
    scale = found.scale[:, None]
    error = np.abs(found.values * scale.astype(np.float64) - case.weights()) / scale
    near = (error <= STEPS).all(axis=1)
    rounded = 4.0 ** (8 - case.level) / 12 if case.level < 8 else 0
    assert (near | ((error**2).mean(axis=1) <= 0.5 + 0.02 * rounded)).all()


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
    np.testing.assert_array_equal(found.codes(), case.unsigned)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("columns", [9, 64])
def test_rows_of_all_codes_use_three_quarters_of_int8(level: int, columns: int) -> None:
    case = rows(level, (8, columns), np.full(8, 0.5), seed=2, kind="ends")
    found = case.regrid()
    assert found is not None
    assert int(np.abs(found.values.astype(int)).max()) >= 96


@pytest.mark.parametrize("level", LEVELS)
def test_rows_of_zeros_stay_zeros(level: int) -> None:
    half = 1 << (level - 1)
    for columns in (9, 64):
        unsigned = np.full((3, columns), half, np.uint8)
        ones = np.ones(3, np.float32)
        case = Rows(level, unsigned, Affine(ones, np.zeros(3, np.float32)))
        found = case.regrid()
        assert found is not None
        assert not found.values.any()
        np.testing.assert_array_equal(found.codes(), unsigned)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["constant", "any", "upper"])
def test_sums_of_rows_are_kept(level: int, kind: str) -> None:
    """Within four times what rounding without any bias would scatter them, and 1/64 of a step a weight."""
    columns = 1024
    shift = np.random.default_rng(3).uniform(-0.9, 0.9, 64)
    case = rows(level, (64, columns), shift, seed=4, kind=kind)
    found = case.regrid()
    assert found is not None
    scale = found.scale
    error = np.abs((found.values * scale[:, None].astype(np.float64) - case.weights()).sum(1))
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
        assert found is None or (found.codes() == case.unsigned).all()
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
    np.testing.assert_array_equal(found.codes(), case.unsigned)
    slanted = found.how.slanted.rows.size
    assert 0 < slanted <= 11
    assert found.how.size_bytes <= 2 * 700 + slanted * (17 + 1000 // 8) + 5 * found.how.cut_at.size


def test_a_single_huge_row_comes_back() -> None:
    case = rows(8, (1, 200_000), np.array([-77.0]), seed=7)
    found = case.regrid()
    assert found is not None
    np.testing.assert_array_equal(found.codes(), case.unsigned)
