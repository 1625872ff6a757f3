"""What is read back from a block's blobs is what was put into them."""

from __future__ import annotations

import hashlib
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.blob_codec import decode_arrays, pack_base
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


@given(levels=st.sampled_from(ALL_LEVELS), seed=st.integers(0, 1000))
def test_codes_come_back_at_every_level(levels: tuple[int, ...], seed: int) -> None:
    values = some_values(seed)
    coded = encode_block(values, levels, FLOOR)
    for index, level in enumerate(levels):
        source = source_of(coded, levels, level)
        digest = hashlib.sha256()
        for part, weights in values.tensors.items():
            codes = source.codes(coded.block, part)
            full = quantize_rows(weights, levels[-1]).codes
            np.testing.assert_array_equal(codes, lower(full, levels[-1] - level))
            digest.update(codes.tobytes())
        assert digest.hexdigest() == coded.block.codes_digests[index]


def test_full_bit_weights_are_those_of_a_plain_int8_model() -> None:
    values = some_values()
    values = BlockValues(
        {part: rows for part, rows in values.tensors.items() if part.start == 0}, values.floats
    )
    coded = encode_block(values, LEVELS, FLOOR)
    plain = quantize_rows(next(iter(values.tensors.values())), 8).weights()
    restored = source_of(coded, LEVELS, 8).tensor("conv.weight")
    assert tuple(restored.shape) == (5, 3, 3, 3)
    np.testing.assert_array_equal(restored.numpy().reshape(5, -1), plain)


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
    assert all("float/bias" not in decode_arrays(data, ref) for ref, data in list(coded.blobs())[1:])


def test_a_block_of_floats_alone_has_a_base_alone() -> None:
    coded = encode_block(BlockValues({}, some_values().floats), LEVELS, FLOOR)
    assert len(coded.block.blobs) == len(coded.block.codes_digests) == 1
    assert source_of(coded, LEVELS, 8).tensor("scalar").item() == 2.5


def test_shards_are_stored_raw_and_equal_values_give_equal_blobs() -> None:
    coded = encode_block(some_values(), LEVELS, FLOOR)
    assert [ref.coding for ref in coded.block.blobs[1:]] == ["raw", "raw"]
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


def test_base_codes_take_half_a_byte_at_four_bits() -> None:
    assert pack_base(np.zeros(10, np.int8), 4).nbytes == 5
    assert pack_base(np.zeros(10, np.int8), 5).nbytes == 10
