"""What the next version may keep of one is found by rows, whatever its blocks were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.digest import sha256_hex
from common.errors import NotFoundError
from common.manifest import BlobRef, Manifest, TensorPart
from server.quantize.affine import quantize_rows
from server.quantize.block_coder import BlockValues, CodedBlock, encode_block
from server.quantize.held_version import HeldVersion
from server.quantize.rounding import Rounding, rounding
from server.quantize.row_fit import grid_of

LEVELS = (4, 6, 8)
ROWS, SHAPE = 12, (12, 6, 3, 3)
FLOOR = rounding("floor")
MODES = [FLOOR, rounding("adaptive"), rounding("adaptive", refit=True)]
GRAPH = BlobRef(sha256_hex(b"graph"), 5, 5, "raw")


def weights(seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(ROWS, 54)).astype(np.float32)


def part(start: int, stop: int) -> TensorPart:
    return TensorPart("w", SHAPE, start, stop)


def coded(
    rows: NDArray[np.float32], cuts: Sequence[int], mode: Rounding = FLOOR, held: HeldVersion | None = None
) -> list[CodedBlock]:
    """The tensor in blocks that end at the cuts."""
    parts = [part(start, stop) for start, stop in zip((0, *cuts), (*cuts, ROWS), strict=True)]
    return [
        encode_block(
            BlockValues(
                {one: rows[one.start : one.stop]},
                {"bias": np.ones(3, np.float32)} if one.start == 0 else {},
                held={one: found} if held and (found := held.rows(one)) else {},
            ),
            LEVELS,
            mode,
        )
        for one in parts
    ]


def version(blocks: Sequence[CodedBlock], missing: int = -1) -> HeldVersion:
    store = {ref.digest: data for block in blocks for ref, data in block.blobs()}
    if missing >= 0:
        del store[blocks[missing].block.blobs[1].digest]
    manifest = Manifest("m", 1, LEVELS, "floor", GRAPH, GRAPH, tuple(block.block for block in blocks))

    def read(digest: str) -> bytes:
        if digest not in store:
            raise NotFoundError(digest)
        return store[digest]

    return HeldVersion(manifest, read)


CUTS = st.sets(st.integers(1, ROWS - 1), max_size=4).map(sorted)


@given(cuts=CUTS, start=st.integers(0, ROWS - 1), count=st.integers(1, ROWS))
def test_rows_are_found_whatever_the_blocks(cuts: list[int], start: int, count: int) -> None:
    stop = min(start + count, ROWS)
    found = version(coded(weights(), cuts)).rows(part(start, stop))
    full = quantize_rows(weights()[start:stop], 8)
    assert found is not None
    np.testing.assert_array_equal(found.codes, full.codes)
    np.testing.assert_array_equal(found.grid.scale, grid_of(full).scale)
    np.testing.assert_array_equal(found.grid.zero, grid_of(full).zero)
    assert set(found.fits) == {4, 6}
    assert found.full_level == 8


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.label)
def test_unchanged_weights_have_unchanged_blobs_two_versions_on(mode: Rounding) -> None:
    first = coded(weights(), [4], mode)
    again = coded(weights(), [4], mode, version(first))
    assert [block.block for block in again] == [block.block for block in first]
    assert [block.kept_rows for block in again] == [4, 8]
    tuned = weights() + np.float32(0.002) * weights(1)
    second = coded(tuned, [4], mode, version(first))
    third = coded(tuned, [4], mode, version(second))
    assert [block.block for block in third] == [block.block for block in second]
    assert second[0].kept_rows > 0


def test_other_blocks_keep_the_same_scales() -> None:
    tuned = weights() + np.float32(0.001) * weights(1)
    before = version(coded(weights(), [3, 7]))
    kept = [sum(block.kept_rows for block in coded(tuned, cuts, FLOOR, before)) for cuts in ([], [5], [3, 7])]
    assert kept[0] > ROWS // 2
    assert kept == [kept[0]] * 3


def test_another_tensor_or_shape_has_nothing_to_keep() -> None:
    before = version(coded(weights(), []))
    assert before.rows(replace(part(0, ROWS), name="v")) is None
    assert before.rows(replace(part(0, ROWS), shape=(ROWS, 54))) is None


def test_what_cannot_be_read_is_made_anew() -> None:
    before = version(coded(weights(), [4]), missing=1)
    assert before.rows(part(0, 4)) is not None
    assert before.rows(part(2, 6)) is None
    assert before.ranges() == {}
