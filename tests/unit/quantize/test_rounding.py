"""Rounding modes: what each promises of codes, shards, scales and offsets, for any weights."""

from __future__ import annotations

import hashlib
from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from common.errors import InvalidInputError
from common.manifest import TensorPart
from common.nesting import join
from server.quantize.affine import quantize_rows
from server.quantize.block_coder import BlockValues, encode_block
from server.quantize.level_source import LevelSource
from server.quantize.plan import State, plan
from server.quantize.refit import refit
from server.quantize.rounding import Rounding, Rows, rounding
from server.quantize.rounding.adaptive import squant

LEVELS = (4, 6, 8)
ALL_LEVELS = st.sampled_from(
    [
        levels
        for count in range(1, 8)
        for levels in combinations(range(2, 9), count)
        if levels[-1] - levels[0] < 7
    ]
)
WEIGHTS = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 5), st.sampled_from([1, 4, 9, 18, 36])),
    elements=st.floats(-100, 100, width=32),
)
MODES = [rounding("floor"), rounding("adaptive"), rounding("adaptive", refit=True)]
ADAPTIVE = rounding("adaptive")


def kernel_of(weights: NDArray[np.float32]) -> int:
    return 9 if weights.shape[1] % 9 == 0 else 1


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.label)
@given(weights=WEIGHTS, levels=ALL_LEVELS)
def test_shards_join_to_the_codes_of_every_level(
    mode: Rounding, weights: NDArray[np.float32], levels: tuple[int, ...]
) -> None:
    rounded = mode(Rows("w", weights, kernel_of(weights)), levels)
    nested = rounded.nested
    assert nested.shard_bits == mode.shard_bits(levels)
    for reached, (level, affine) in enumerate(zip(levels, rounded.levels, strict=True)):
        codes = join(nested.base, nested.shards[:reached], levels, nested.shard_bits)
        np.testing.assert_array_equal(codes, affine.codes)
        assert -(1 << (level - 1)) <= codes.min() <= codes.max() < 1 << (level - 1)
    for shard, bits in zip(nested.shards, nested.shard_bits, strict=True):
        assert int(shard.max()) < 1 << bits


@given(weights=WEIGHTS, levels=ALL_LEVELS)
def test_adaptive_is_squant_at_the_top_and_less_than_a_step_off_below(
    weights: NDArray[np.float32], levels: tuple[int, ...]
) -> None:
    rows = Rows("w", weights, kernel_of(weights))
    rounded = ADAPTIVE(rows, levels)
    full = squant(rows, levels[-1])
    np.testing.assert_array_equal(rounded.levels[-1].codes, full.codes)
    assert ADAPTIVE.shard_bits(levels) == tuple(high - low + 1 for low, high in pairwise(levels))
    plain = quantize_rows(weights, levels[-1])
    assert np.abs(full.codes - plain.codes.astype(int)).max() <= 1
    for lower, upper, (low, high) in zip(rounded.levels, rounded.levels[1:], pairwise(levels), strict=False):
        step = 1 << (high - low)
        assert np.abs(upper.codes - step * lower.codes.astype(int)).max() < step


def test_adaptive_takes_the_papers_scale_unless_told_to_refit() -> None:
    rows = Rows("w", np.random.default_rng(0).normal(size=(6, 90)).astype(np.float32), 9)
    plain, fitted = ADAPTIVE(rows, LEVELS), rounding("adaptive", refit=True)(rows, LEVELS)
    full = plain.levels[-1]
    for level, paper, refitted in zip(LEVELS[:-1], plain.levels, fitted.levels, strict=False):
        np.testing.assert_array_equal(paper.codes, refitted.codes)
        np.testing.assert_array_equal(paper.scale, full.scale * 2 ** (8 - level))
        np.testing.assert_array_equal(paper.offset, full.offset)
        best = refit(paper.codes, rows.weights, paper.scale)
        np.testing.assert_array_equal(refitted.scale, best.scale)
        errors = [np.square(affine.weights() - rows.weights).sum() for affine in (paper, refitted)]
        assert errors[1] < errors[0]
    np.testing.assert_array_equal(fitted.levels[-1].scale, full.scale)


def test_flips_bring_the_sums_of_channels_nearer_than_rounding_does() -> None:
    weights = np.random.default_rng(1).normal(size=(50, 288)).astype(np.float32)
    sums = weights.sum(axis=1)
    squanted = np.abs(squant(Rows("w", weights, 9), 4).weights().sum(axis=1) - sums)
    rounded = np.abs(quantize_rows(weights, 4).weights().sum(axis=1) - sums)
    assert squanted.mean() < rounded.mean() / 3


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.label)
@pytest.mark.parametrize(
    "weights",
    [
        np.zeros((3, 9)),
        np.full((3, 9), 2.5),
        np.full((2, 4), -1e-30),
        np.array([[0.75]]),
        np.array([[0.0]]),
        np.array([[0, 0, 0], [1, -1, 0.5], [0, 0, 0]]),
    ],
    ids=["zero", "constant", "constant and tiny", "one element", "one zero", "zero channels"],
)
def test_weights_without_spread_come_back_as_they_were(mode: Rounding, weights: NDArray[np.float64]) -> None:
    values = weights.astype(np.float32)
    part = TensorPart("w", values.shape, 0, len(values))
    coded = encode_block(BlockValues({part: values}, {}), LEVELS, mode)
    store = {ref.digest: data for ref, data in coded.blobs()}
    flat = (values == values[:, :1]).all(axis=1)
    for level in LEVELS:
        restored = LevelSource([coded.block], LEVELS, level, store.__getitem__).tensor("w").numpy()
        assert np.isfinite(restored).all()
        exact = flat if level == 8 or mode.label != "adaptive" else (values == 0).all(axis=1)
        np.testing.assert_allclose(restored[exact], values[exact], rtol=0.02)
        top = np.abs(values).max(axis=1, keepdims=True)
        assert (np.abs(restored - values) <= 1.01 * top / (1 << (level - 2))).all()


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.label)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused_by_name(mode: Rounding, bad: float) -> None:
    with pytest.raises(InvalidInputError, match=r"'layer\.weight' has NaN"):
        mode(Rows("layer.weight", np.array([[1, bad], [0, 1]], np.float32)), LEVELS)


def test_labels_tell_modes_apart() -> None:
    assert [mode.label for mode in MODES] == ["floor", "adaptive", "adaptive-refit"]
    assert rounding("floor", refit=True).label == "floor"
    with pytest.raises(InvalidInputError, match="Choose one of: adaptive, auto, calibrated, floor"):
        rounding("adaptive-refit")


def test_what_floor_puts_on_the_wire_stays_as_it_is() -> None:
    random = np.random.default_rng(7)
    whole = random.integers(-(1 << 20), 1 << 20, (64, 288))
    part = TensorPart("conv.weight", (64, 32, 3, 3), 0, 64)
    values = BlockValues({part: (whole / (1 << 20)).astype(np.float32) ** 3}, {})
    coded = encode_block(values, LEVELS, rounding("floor"))
    assert coded.block.shard_bits == ()
    digest = hashlib.sha256()
    for named in coded.block.digests:
        digest.update(bytes.fromhex(named))
    assert digest.hexdigest() == "b7fb0821512bddc9eee2a18a17858298f5dabb2454b145fe752cfe7efcc15384"


@given(weights=st.integers(1, 300), rows=st.integers(1, 300))
def test_plans_leave_room_for_wider_shards(weights: int, rows: int) -> None:
    levels = (2, 8)
    states = [State("w", (rows, weights), 4 * rows * weights, quantized=True)]
    widths = ADAPTIVE.shard_bits(levels)
    random = np.random.default_rng(0)
    for block in plan(states, levels, 16 * 1024, widths):
        values = {part: random.normal(size=(part.rows, weights)).astype(np.float32) for part in block.tensors}
        coded = encode_block(BlockValues(values, {}), levels, ADAPTIVE)
        for ref, bound in zip(coded.block.blobs, block.blob_bytes, strict=True):
            assert ref.raw_size_bytes <= bound <= 16 * 1024
