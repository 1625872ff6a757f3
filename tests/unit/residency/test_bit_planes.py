"""Codes in memory: exact size, exact values, at every level and length."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.manifest import TensorPart
from common.rows import Fit, Grid
from device_agent.inference.dequantize import Dequantizer
from device_agent.residency.bit_planes import pack_codes, plane_widths, planes_size_bytes, unpack_codes
from device_agent.residency.codes import held_codes
from device_agent.residency.resident import ResidentPart
from device_agent.residency.row_scales import RowScales


@given(level=st.integers(1, 8), data=st.data())
def test_codes_round_trip_at_every_level_and_length(level: int, data: st.DataObject) -> None:
    unsigned = data.draw(hnp.arrays(np.uint8, st.integers(0, 70), elements=st.integers(0, (1 << level) - 1)))
    before = unsigned.copy()
    packed = pack_codes(unsigned, level)
    np.testing.assert_array_equal(unpack_codes(packed), before)
    np.testing.assert_array_equal(unsigned, before)
    assert packed.size_bytes == planes_size_bytes(unsigned.size, level)
    assert level * unsigned.size <= packed.size_bytes * 8 < level * unsigned.size + 8 * 3


def test_a_plane_is_cut_into_runs() -> None:
    codes = np.array([1, 2, 3, 4, 5], np.uint8)
    np.testing.assert_array_equal(pack_codes(codes, 4).planes[0], np.array([0x41, 0x52, 0x03], np.uint8))


def test_widths_add_up_to_the_level() -> None:
    assert [plane_widths(level) for level in (8, 7, 6, 5)] == [(8,), (4, 2, 1), (4, 2), (4, 1)]


@given(
    level=st.integers(2, 8),
    lower=st.integers(0, 6),
    rows=st.integers(1, 5),
    row_weights=st.integers(1, 19),
    seed=st.integers(0, 99),
    unpacked=st.booleans(),
)
def test_a_dequantized_weight_is_scale_times_codes_plus_offset(  # noqa: PLR0917  hypothesis gives them
    level: int,
    lower: int,
    rows: int,
    row_weights: int,
    seed: int,
    unpacked: bool,  # noqa: FBT001  hypothesis gives it
) -> None:
    rng = np.random.default_rng(seed)
    answered = max(2, level - lower)
    levels = (level,) if answered == level else (answered, level)
    unsigned = rng.integers(0, 1 << level, rows * row_weights).astype(np.uint8)
    grid = Grid(rng.uniform(0.1, 2, rows).astype(np.float32), rng.integers(-128, 128, rows).astype(np.int8))
    scales = RowScales(grid, (), (), 8, row_weights)
    for one in levels:
        fit = Fit(*rng.integers(-63, 300, (2, rows)).astype(np.int16))
        scales = scales.lifted(one, (fit,) if one < 8 else ())
    held = held_codes(unsigned.copy(), level, unpacked=unpacked)
    resident = ResidentPart(TensorPart("t", (rows, row_weights), 0, rows), held, levels, scales, grid)

    weight = Dequantizer().weight([resident], highest_level=answered).numpy()

    codes = np.right_shift(unsigned.astype(np.int16) - (1 << (level - 1)), level - answered)
    affine = scales[0]
    scale, offset = affine.scale[:, None], affine.offset[:, None]
    np.testing.assert_array_equal(weight, codes.reshape(rows, -1).astype(np.float32) * scale + offset)
    np.testing.assert_array_equal(resident.codes.unsigned(), unsigned)
