"""A block's blobs come back as they went, or not at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.block_codec import Content, Shape, decode, encode, level_digest, shape_of
from common.coding.row_sections import (
    decode_numbers,
    decode_scales,
    encode_numbers,
    encode_scales,
    short_scale,
)
from common.digest import sha256_hex
from common.errors import IntegrityError
from common.rows import Affine, Fit, Grid, at_level, nominal, shift_bits
from tests.support.blocks import small_version


@given(
    index=st.integers(0, 2), position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 40)
)
@settings(deadline=None)
def test_a_damaged_blob_under_a_right_digest_is_refused_or_has_the_right_shapes(
    index: int, position: int, value: int, cut: int
) -> None:
    version = small_version(carry_bits=1, with_level_floats=True)
    block = version.manifest.blocks[0]
    shape = shape_of(block, version.manifest.levels, index)
    whole = version.blobs[block.blobs[index].digest]
    damaged = bytearray(whole)
    damaged[position % len(whole)] = value
    data = bytes(damaged[: len(whole) - cut])
    ref = replace(block.blobs[index], digest=sha256_hex(data), size_bytes=len(data))
    try:
        content = decode(data, ref, shape)
    except IntegrityError:
        return
    assert [values.size for values in content.values] == [part.weights for part in block.tensors]
    assert set(content.floats) == set(shape.floats)


def test_an_amount_that_the_manifest_does_not_state_is_refused() -> None:
    version = small_version()
    block = version.manifest.blocks[1]
    shape = shape_of(block, version.manifest.levels, 0)
    ref = replace(block.blobs[0], raw_size_bytes=block.blobs[0].raw_size_bytes + 1)
    with pytest.raises(IntegrityError, match="another amount"):
        decode(version.blobs[ref.digest], ref, shape)


def test_equal_contents_give_equal_bytes() -> None:
    one, two = small_version(), small_version()
    assert one.manifest == two.manifest
    assert one.blobs == two.blobs


def test_a_block_of_floats_holds_nothing_else() -> None:
    floats: dict[str, NDArray[Any]] = {"a": np.zeros((2, 3), np.float32), "b": np.array(3, np.int64)}
    shape = Shape((), 4, 0, True, 4, 8, ("a", "b"))  # noqa: FBT003
    back = decode(*encode(Content((), floats=floats), shape), shape)
    assert not [*back.values, *back.grids, *back.fits]
    for name, value in floats.items():
        np.testing.assert_array_equal(back.floats[name], value)


@given(st.lists(st.floats(2**-60, 2**60, width=32), min_size=1, max_size=50))
def test_short_scales_are_near_and_come_back(values: list[float]) -> None:
    scale = np.array(values, np.float32)
    short = short_scale(scale)
    np.testing.assert_allclose(short, scale, rtol=2**-10)
    np.testing.assert_array_equal(short_scale(short), short)
    np.testing.assert_array_equal(decode_scales(*encode_scales(short), scale.size), short)
    np.testing.assert_array_equal(decode_scales(*encode_scales(scale), scale.size), scale)


def test_short_scales_take_two_bytes_each() -> None:
    scale = short_scale(np.random.default_rng(0).uniform(0.01, 0.02, 1000).astype(np.float32))
    assert len(encode_scales(scale)[1]) < 1500


@given(st.lists(st.integers(-32768, 32767), max_size=50))
def test_numbers_come_back(values: list[int]) -> None:
    numbers = np.array(values, np.int16)
    np.testing.assert_array_equal(decode_numbers(*encode_numbers(numbers), numbers.size), numbers)


@pytest.mark.parametrize("bad", [0.0, -1.0, np.inf, np.nan])
def test_a_scale_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(IntegrityError, match="no finite number above 0"):
        decode_scales(2, np.array([1, bad], "<f4").tobytes(), 2)


@pytest.mark.parametrize(("form", "size"), [(0, 5), (2, 5), (1, 3), (9, 4), (5, 4)])
def test_sections_about_rows_of_another_length_are_refused(form: int, size: int) -> None:
    with pytest.raises(IntegrityError):
        decode_numbers(form, bytes(size), 4)


def test_a_level_that_nobody_fitted_stands_for_the_middle_of_what_it_covers() -> None:
    grid = Grid(np.array([0.5], np.float32), np.array([-3], np.int8))
    codes = np.arange(-128, 128)
    weights = 0.5 * (codes + 3)
    for level in (2, 4, 6):
        plain = nominal(grid, level, 8)
        restored = (codes >> (8 - level)) * plain.scale[0] + plain.offset[0]
        assert abs(float((restored - weights).mean())) < 1e-6


def test_the_papers_own_offset_is_met_exactly() -> None:
    # Its part-bit weight is scale * 2**(n-h) * codes + offset, with the full-bit offset.
    grid = Grid(np.array([0.37], np.float32), np.array([5], np.int8))
    for level in (2, 3, 4, 5, 6, 7):
        parts = 1 << (8 - level)
        shift = -(parts - 1) * (1 << shift_bits(level, 8, 9)) / (2 * parts)
        assert shift == int(shift)
        fit = Fit(np.zeros(1, np.int16), np.array([shift], np.int16))
        np.testing.assert_allclose(at_level(grid, fit, level, 8, 9).offset, grid.affine().offset, rtol=1e-6)


def test_a_level_digest_depends_on_all_that_the_level_is() -> None:
    codes = [np.arange(6, dtype=np.int8)]
    affines = [Affine(np.ones(2, np.float32), np.zeros(2, np.float32))]
    floats = {"bias": np.zeros(2, np.float32)}
    names = {
        level_digest(codes, affines, floats),
        level_digest([codes[0] + np.int8(1)], affines, floats),
        level_digest(codes, [Affine(affines[0].scale * 2, affines[0].offset)], floats),
        level_digest(codes, [Affine(affines[0].scale, affines[0].offset + 1)], floats),
        level_digest(codes, affines, {"bias": np.ones(2, np.float32)}),
        level_digest(codes, affines, {"bias": np.zeros((1, 2), np.float32)}),
        level_digest(codes, affines, {"other": np.zeros(2, np.float32)}),
    }
    assert len(names) == 7
