"""Deltas give the very blobs that they stand for, and cost about what changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.block_codec import Content, decode, encode, shape_of
from common.coding.nearby import Known, decode_nearby, encode_nearby
from common.delta import Span, comparable, decode_delta, encode_delta, spans
from common.errors import IntegrityError
from common.manifest import Block, TensorPart
from server.quantize.affine import quantize_rows
from server.quantize.block_coder import BlockValues, encode_block
from server.quantize.rounding import rounding
from tests.support.blocks import RandomVersion, small_version

LEVELS = (4, 6, 8)


def contents(version: RandomVersion, at: int, count: int) -> list[Content]:
    block = version.manifest.blocks[at]
    return [
        decode(version.blobs[ref.digest], ref, shape_of(block, version.manifest.levels, index))
        for index, ref in enumerate(block.blobs[:count])
    ]


@given(
    seeds=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    carry_bits=st.integers(0, 2),
    with_floats=st.booleans(),
    data=st.data(),
)
@settings(deadline=None)
def test_any_two_comparable_blocks_lead_from_one_to_the_other(
    seeds: tuple[int, int],
    carry_bits: int,
    with_floats: bool,  # noqa: FBT001
    data: st.DataObject,
) -> None:
    levels = data.draw(st.sampled_from([(4, 6, 8), (2, 3, 8), (3, 8), (8,), (5, 7)]))
    held, wanted = (
        small_version(levels, seed=seed, carry_bits=carry_bits, with_level_floats=with_floats)
        for seed in seeds
    )
    for at, block in enumerate(wanted.manifest.blocks):
        assert comparable(held.manifest.blocks[at], block, levels, levels)
        count = data.draw(st.integers(1, len(block.blobs)))
        first = data.draw(st.integers(0, count - 1))
        old, new = contents(held, at, count), contents(wanted, at, count)
        known = new[:first]
        for span in spans(block, levels, first, count):
            delta = encode_delta(old, new, span)
            assert delta is not None
            known += decode_delta(delta, old, known, span)
        for index, content in enumerate(known):
            assert encode(content, shape_of(block, levels, index))[1] == block.blobs[index]


def cut(version: RandomVersion, first: int, count: int) -> list[tuple[int, int]]:
    return [(span.first, span.last) for span in spans(version.manifest.blocks[0], LEVELS, first, count)]


def test_plain_steps_are_told_at_once_and_carries_one_by_one() -> None:
    plain, carried = small_version(), small_version(carry_bits=1)
    assert cut(plain, 0, 3) == [(0, 2)]
    assert cut(plain, 1, 3) == [(1, 2)]
    assert cut(plain, 0, 1) == [(0, 0)]
    assert cut(plain, 3, 3) == []
    assert cut(carried, 1, 3) == [(1, 1), (2, 2)]


def test_blocks_of_other_tensors_floats_levels_or_widths_are_not_comparable() -> None:
    block = small_version().manifest.blocks[0]
    wide = small_version(carry_bits=1).manifest.blocks[0]
    assert comparable(block, block, LEVELS, LEVELS)
    assert not comparable(block, block, LEVELS, (4, 8))
    assert not comparable(block, wide, LEVELS, LEVELS)
    assert not comparable(block, replace(block, floats=()), LEVELS, LEVELS)
    assert not comparable(block, replace(block, tensors=block.tensors[:1]), LEVELS, LEVELS)
    assert not comparable(block, replace(block, blobs=block.blobs[1:]), LEVELS, LEVELS)


def test_a_block_that_did_not_change_takes_a_byte_or_so() -> None:
    version = small_version()
    block = version.manifest.blocks[0]
    same = contents(version, 0, 3)
    delta = encode_delta(same, same, Span(block, LEVELS, 0, 2))
    assert delta is not None
    assert len(delta) == 4 + 5 * (2 + 2 + 4 + 1)


def pair(drift: float) -> tuple[Block, list[list[Content]], float]:
    """A block, its contents before and after its weights moved so much of a code, the entropy in bytes."""
    rng = np.random.default_rng(0)
    before = rng.normal(0, 1, (512, 576)).astype(np.float32)
    before[:, 0], before[:, 1] = -4, 4  # so that ranges, and so scales, stay
    moved = np.clip(before + drift * 8 / 255 * rng.normal(0, 1, before.shape), -4, 4).astype(np.float32)
    moved[:, 0], moved[:, 1] = -4, 4
    part = TensorPart("w", (512, 576), 0, 512)
    made = [
        encode_block(BlockValues({part: values}, {}), LEVELS, rounding("floor")) for values in (before, moved)
    ]
    told = [
        [
            decode(data, ref, shape_of(one.block, LEVELS, index))
            for index, (ref, data) in enumerate(one.blobs())
        ]
        for one in made
    ]
    old, new = (quantize_rows(values, 8).codes.astype(np.int16) for values in (before, moved))
    _, counts = np.unique(new - old, return_counts=True)
    return made[1].block, told, float((counts * np.log2(before.size / counts)).sum()) / 8


@pytest.mark.parametrize("drift", [0.02, 0.05, 0.3, 1.0, 3.0])
def test_a_delta_costs_little_more_than_the_entropy_of_the_difference(drift: float) -> None:
    block, (old, new), entropy_bytes = pair(drift)
    whole = encode_delta(old, new, Span(block, LEVELS, 0, 2))
    base = encode_delta(old[:1], new[:1], Span(block, LEVELS, 0, 0))
    assert whole is not None
    assert base is not None
    rows_bytes = 4 * 512  # fits that changed
    assert len(whole) < 1.06 * entropy_bytes + rows_bytes
    assert len(base) < 0.5 * len(whole) + rows_bytes / 2


def test_floats_of_another_shape_cannot_be_told() -> None:
    version = small_version()
    block = version.manifest.blocks[0]
    old = contents(version, 0, 1)
    new: list[Content] = [replace(old[0], floats={"a_bias": np.zeros(3, np.float32)})]
    assert encode_delta(old, new, Span(block, LEVELS, 0, 0)) is None


@given(position=st.integers(0, 10**6), value=st.integers(0, 255), cut=st.integers(0, 60))
@settings(deadline=None, max_examples=300)
def test_a_damaged_delta_gives_an_error_or_another_block_of_the_same_shape(
    position: int, value: int, cut: int
) -> None:
    held, wanted = small_version(seed=1), small_version(seed=2)
    block = wanted.manifest.blocks[0]
    old, new = contents(held, 0, 3), contents(wanted, 0, 3)
    delta = encode_delta(old, new, Span(block, LEVELS, 0, 2))
    assert delta is not None
    damaged = bytearray(delta)
    damaged[position % len(damaged)] = value
    try:
        made = decode_delta(bytes(damaged[: len(damaged) - cut]), old, [], Span(block, LEVELS, 0, 2))
    except IntegrityError:
        return
    assert [[values.size for values in content.values] for content in made] == [
        [values.size for values in content.values] for content in new
    ]


@given(
    bits=st.integers(1, 8), rows=st.integers(1, 4), per_row=st.integers(1, 2000), seed=st.integers(0, 99),
    spread=st.sampled_from([0.0, 0.3, 2.0, 40.0]),
)  # fmt: skip
@settings(deadline=None)
def test_nearby_values_come_back(bits: int, rows: int, per_row: int, seed: int, spread: float) -> None:
    rng = np.random.default_rng(seed)
    most = (1 << bits) - 1
    earlier = rng.integers(0, most + 1, rows * per_row)
    values: NDArray[Any] = np.clip(np.rint(earlier + rng.normal(0, spread, earlier.size)), 0, most)
    below = rng.integers(-3, 4, earlier.size).astype(np.int16)
    known = Known(earlier.astype(np.uint8), below, bits, bits, rows)
    np.testing.assert_array_equal(
        decode_nearby(encode_nearby(values.astype(np.uint8), known), known), values.astype(np.uint8)
    )
