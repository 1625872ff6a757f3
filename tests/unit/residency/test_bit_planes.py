"""Codes in memory: exact size, exact values, at every level and length."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from common.manifest import TensorPart
from common.rows import Affine, Grid
from device_agent.inference.dequantize import Dequantizer
from device_agent.residency.bit_planes import pack_codes, plane_widths, planes_size_bytes, unpack_codes
from device_agent.residency.resident import ResidentPart


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
)
def test_a_dequantized_weight_is_scale_times_codes_plus_offset(
    level: int, lower: int, rows: int, row_weights: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    answered = max(2, level - lower)
    levels = (level,) if answered == level else (answered, level)
    unsigned = rng.integers(0, 1 << level, rows * row_weights).astype(np.uint8)
    draws = rng.standard_normal((2, 2, rows)).astype(np.float32)
    affines = tuple(Affine(draw[0], draw[1]) for draw in draws[: len(levels)])
    grid = Grid(np.ones(rows, np.float32), np.zeros(rows, np.int8))
    resident = ResidentPart(
        TensorPart("t", (rows, row_weights), 0, rows), pack_codes(unsigned, level), levels, affines, grid
    )

    weight = Dequantizer().weight([resident], highest_level=answered).numpy()

    codes = np.right_shift(unsigned.astype(np.int16) - (1 << (level - 1)), level - answered)
    scale, offset = draws[0][0][:, None], draws[0][1][:, None]
    np.testing.assert_array_equal(weight, codes.reshape(rows, -1).astype(np.float32) * scale + offset)
    np.testing.assert_array_equal(resident.codes.unsigned(), unsigned)
