"""What is read back from a block's blobs is what was put into them."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from common.block_codec import Content, decode, shape_of
from common.errors import InvalidInputError
from common.manifest import TensorPart
from common.nesting import lower
from server.quantize.affine import quantize_rows
from server.quantize.block_coder import BlockValues, CodedBlock, dedicated_bytes, encode_block
from server.quantize.level_source import LevelSource
from server.quantize.rounding import rounding

ALL_LEVELS = [pick for count in range(1, 8) for pick in combinations(range(2, 9), count)]
LEVELS = (4, 6, 8)
FLOOR = rounding("floor")


def some_values(seed: int = 0) -> BlockValues:
    random = np.random.default_rng(seed)
    return BlockValues(
        tensors={
            TensorPart("conv.weight", (5, 3, 3, 3), 0, 5): random.normal(size=(5, 27)).astype(np.float32),
            TensorPart("fc.weight", (40, 7), 11, 20): random.normal(size=(9, 7)).astype(np.float32),
        },
        floats={
            "bias": random.normal(size=5).astype(np.float32),
            "positions": np.arange(6).reshape(1, 6),
            "scalar": np.array(2.5, np.float32),
        },
    )


def source_of(coded: CodedBlock, levels: tuple[int, ...], level: int) -> LevelSource:
    store = {ref.digest: data for ref, data in coded.blobs()}
    return LevelSource([coded.block], levels, level, store.__getitem__)


def contents_of(coded: CodedBlock, levels: tuple[int, ...]) -> list[Content]:
    return [
        decode(data, ref, shape_of(coded.block, levels, index))
        for index, (ref, data) in enumerate(coded.blobs())
    ]


@given(levels=st.sampled_from(ALL_LEVELS), seed=st.integers(0, 1000))
def test_codes_come_back_at_every_level(levels: tuple[int, ...], seed: int) -> None:
    values = some_values(seed)
    coded = encode_block(values, levels, FLOOR)
    for level in levels:
        source = source_of(coded, levels, level)
        for part, weights in values.tensors.items():
            codes = source.codes(coded.block, part)
            full = quantize_rows(weights, levels[-1]).codes
            np.testing.assert_array_equal(codes, lower(full, levels[-1] - level))


def test_full_bit_weights_are_those_of_a_plain_int8_model() -> None:
    values = some_values()
    values = BlockValues(
        {part: rows for part, rows in values.tensors.items() if part.start == 0}, values.floats
    )
    coded = encode_block(values, LEVELS, FLOOR)
    plain = quantize_rows(next(iter(values.tensors.values())), 8).weights()
    restored = source_of(coded, LEVELS, 8).tensor("conv.weight")
    assert tuple(restored.shape) == (5, 3, 3, 3)
    # The codes are those, bit for bit; a scale in two bytes is off by a thousandth at most.
    np.testing.assert_allclose(restored.numpy().reshape(5, -1), plain, rtol=1e-3)


def test_every_level_is_nearer_to_the_weights() -> None:
    values = some_values()
    coded = encode_block(values, LEVELS, FLOOR)
    weights = next(iter(values.tensors.values())).reshape(5, 3, 3, 3)
    errors = [
        float(np.linalg.norm(source_of(coded, LEVELS, level).tensor("conv.weight").numpy() - weights))
        for level in LEVELS
    ]
    assert errors[0] > 3 * errors[1] > 9 * errors[2] > 0


def test_floats_come_back_as_they_were_from_the_base() -> None:
    values = some_values()
    coded = encode_block(values, LEVELS, FLOOR)
    for name, array in values.floats.items():
        restored = source_of(coded, LEVELS, 4).tensor(name).numpy()
        np.testing.assert_array_equal(restored, array)
        assert (restored.dtype, restored.shape) == (array.dtype, array.shape)
    assert all("bias" not in content.floats for content in contents_of(coded, LEVELS)[1:])


def test_a_block_of_floats_alone_has_a_base_alone() -> None:
    coded = encode_block(BlockValues({}, some_values().floats), LEVELS, FLOOR)
    assert len(coded.block.blobs) == len(coded.block.digests) == 1
    assert source_of(coded, LEVELS, 8).tensor("scalar").item() == 2.5


def following(seed: int, levels: tuple[int, ...]) -> BlockValues:
    """The values above, with a bias that is another at each of the block's levels."""
    values = some_values(seed)
    floats = {name: array for name, array in values.floats.items() if name != "bias"}
    bias = values.floats["bias"]
    return replace(values, floats=floats, level_floats={"bias": tuple(bias + level for level in levels)})


@given(levels=st.sampled_from(ALL_LEVELS), seed=st.integers(0, 100), data=st.data())
def test_blocks_of_any_base_come_back_at_every_level_of_the_version(
    levels: tuple[int, ...], seed: int, data: st.DataObject
) -> None:
    bases = data.draw(st.tuples(st.sampled_from(levels), st.sampled_from(levels)))
    wanted = data.draw(st.tuples(st.sampled_from(levels), st.sampled_from(levels)))
    all_values, coded = [], []
    for index, base in enumerate(bases):
        own = levels[levels.index(base) :]
        values = following(seed + index, own)
        tensors = {replace(part, name=f"{index}.{part.name}"): rows for part, rows in values.tensors.items()}
        floats = {f"{index}.{name}": array for name, array in values.floats.items()}
        level_floats = {f"{index}.{name}": arrays for name, arrays in values.level_floats.items()}
        all_values.append(BlockValues(tensors, floats, level_floats))
        coded.append(encode_block(all_values[-1], own, FLOOR))
    store = {ref.digest: data for item in coded for ref, data in item.blobs()}
    blocks = [item.block for item in coded]
    source = LevelSource(blocks, levels, wanted, store.__getitem__)
    for index, (base, level) in enumerate(zip(bases, wanted, strict=True)):
        reached = max(base, level)
        assert blocks[index].levels(levels) == levels[levels.index(base) :]
        for part, weights in all_values[index].tensors.items():
            full = quantize_rows(weights, levels[-1]).codes
            codes = source.codes(blocks[index], part)
            np.testing.assert_array_equal(codes, lower(full, levels[-1] - reached))
        bias = some_values(seed + index).floats["bias"] + reached
        np.testing.assert_array_equal(source.tensor(f"{index}.bias").numpy(), bias)
        assert source.tensor(f"{index}.scalar").item() == 2.5


def test_one_level_for_all_is_each_blocks_own_where_it_is_below_its_base() -> None:
    coded = encode_block(following(0, (6, 8)), (6, 8), FLOOR)
    store = {ref.digest: data for ref, data in coded.blobs()}
    at_base, at_4 = (LevelSource([coded.block], LEVELS, level, store.__getitem__) for level in (6, 4))
    for name in ("conv.weight", "bias", "positions"):
        np.testing.assert_array_equal(at_base.tensor(name).numpy(), at_4.tensor(name).numpy())


def test_floats_of_each_level_are_in_each_blob_and_the_others_in_the_base() -> None:
    coded = encode_block(following(0, LEVELS), LEVELS, FLOOR)
    blobs = [content.floats for content in contents_of(coded, LEVELS)]
    assert coded.block.level_floats == ("bias",)
    assert coded.block.floats == ("positions", "scalar")
    assert [float(arrays["bias"][0] - blobs[0]["bias"][0]) for arrays in blobs] == pytest.approx(
        [0, 2, 4], abs=1e-5
    )
    assert ["scalar" in arrays for arrays in blobs] == [True, False, False]


@pytest.mark.parametrize(
    "arrays",
    [
        (),
        (np.zeros(3, np.float32), np.zeros(4, np.float32), np.zeros(3, np.float32)),
        (np.zeros(3, np.float32), np.zeros(3), np.zeros(3, np.float32)),
        (np.zeros(3), np.zeros(3)),
    ],
    ids=["none", "shapes", "types", "too few"],
)
def test_floats_that_are_not_alike_at_each_level_are_a_programming_error(
    arrays: tuple[NDArray[np.float32], ...],
) -> None:
    values = some_values()
    with pytest.raises(ValueError, match=r"one type and shape|one value for each"):
        encode_block(BlockValues(values.tensors, {}, {"bias": arrays}), LEVELS, FLOOR)


def test_floats_follow_no_levels_where_there_are_none_and_come_once() -> None:
    values = some_values()
    bias = {"bias": (values.floats["bias"],) * 3}
    with pytest.raises(ValueError, match="without quantized tensors"):
        BlockValues({}, {}, bias)
    with pytest.raises(ValueError, match="in one place"):
        BlockValues(values.tensors, values.floats, bias)


def test_a_dedicated_model_has_each_float_once() -> None:
    plain, follows = some_values(), following(0, LEVELS)
    assert dedicated_bytes(follows, 8) == pytest.approx(dedicated_bytes(plain, 8), abs=16)


def test_equal_values_give_equal_blobs() -> None:
    coded = encode_block(some_values(), LEVELS, FLOOR)
    assert coded == encode_block(some_values(), LEVELS, FLOOR)
    assert coded.block.blobs != encode_block(some_values(1), LEVELS, FLOOR).block.blobs


def test_a_dedicated_model_at_the_only_level_weighs_what_the_base_does() -> None:
    values = some_values()
    assert dedicated_bytes(values, 8) == encode_block(values, (8,), FLOOR).block.blobs[0].size_bytes
    assert dedicated_bytes(values, 4) < dedicated_bytes(values, 8)


def test_bad_weights_are_refused_by_name() -> None:
    values = some_values()
    values.tensors[next(iter(values.tensors))][0, 0] = np.inf
    with pytest.raises(InvalidInputError, match=r"'conv\.weight'"):
        encode_block(values, LEVELS, FLOOR)
