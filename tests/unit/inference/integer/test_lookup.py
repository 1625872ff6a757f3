"""Rows of a table are what the whole table would give, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from common.manifest import TensorPart
from common.rows import Fit, Grid
from device_agent.inference.dequantize import Dequantizer
from device_agent.inference.integer.lookup import look_up
from device_agent.residency.bit_planes import pack_codes
from device_agent.residency.codes import ByteCodes, Codes
from device_agent.residency.resident import ResidentPart
from device_agent.residency.row_scales import RowScales

FULL = 8
LEVELS = range(2, FULL + 1)
FORMS = ("packed", "bytes")


def table(
    cuts: tuple[int, ...], columns: int, levels: tuple[int, ...], *, packed: bool
) -> list[ResidentPart]:
    """A table in parts, each at a level of its own."""
    random = np.random.default_rng(len(cuts) + columns)
    ends = (0, *cuts)
    parts = []
    for start, stop, level in zip(ends, cuts, levels, strict=False):
        rows = stop - start
        unsigned = random.integers(0, 1 << level, rows * columns, dtype=np.uint8)
        scale = random.uniform(0.01, 2, rows).astype(np.float32)
        codes: Codes = pack_codes(unsigned, level) if packed else ByteCodes(level, unsigned)
        grid = Grid(scale, random.integers(-128, 128, rows).astype(np.int8))
        slope, shift = (random.integers(-9, 10, rows).astype(np.int16) for _ in range(2))
        fits = (Fit(slope, shift),) if level < FULL else ()
        affines = RowScales(grid, fits, (level,), FULL, columns)
        part = TensorPart("table", (cuts[-1], columns), start, stop)
        parts.append(ResidentPart(part, codes, (level,), affines, grid))
    return parts


def whole(parts: list[ResidentPart]) -> torch.Tensor:
    return Dequantizer().weight(parts, highest_level=8).clone()


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.integers(1, 13),
    st.lists(st.sampled_from(LEVELS), min_size=4, max_size=4),
    st.sampled_from(FORMS),
    st.data(),
)
def test_rows_are_those_of_the_whole_table(
    sizes: list[int], columns: int, levels: list[int], form: str, data: st.DataObject
) -> None:
    cuts = tuple(int(cut) for cut in np.cumsum(sizes))
    parts = table(cuts, columns, tuple(levels), packed=form == "packed")
    shape = data.draw(st.sampled_from([(), (1,), (7,), (2, 3), (0,), (2, 0)]))
    count = int(np.prod(shape))
    wanted = data.draw(st.lists(st.integers(0, cuts[-1] - 1), min_size=count, max_size=count))
    indices = torch.tensor(wanted, dtype=torch.int64).view(shape)
    found = look_up(parts, indices)
    expected = torch.embedding(whole(parts), indices)
    assert found.shape == expected.shape
    assert found.numpy().tobytes() == expected.contiguous().numpy().tobytes()


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", FORMS)
def test_every_level_gives_every_row(level: int, form: str) -> None:
    parts = table((5, 23), 17, (level, level), packed=form == "packed")
    indices = torch.arange(23)
    assert torch.equal(look_up(parts, indices), whole(parts))


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_indices_may_be_of_either_width(dtype: torch.dtype) -> None:
    parts = table((4,), 3, (6,), packed=True)
    assert torch.equal(look_up(parts, torch.tensor([3, 0, 3], dtype=dtype)), whole(parts)[[3, 0, 3]])


@pytest.mark.parametrize("index", [-1, 5, 2**40])
def test_an_index_that_is_none_is_an_error(index: int) -> None:
    parts = table((2, 5), 3, (4, 8), packed=True)
    with pytest.raises(IndexError, match="5 rows"):
        look_up(parts, torch.tensor([0, index]))
