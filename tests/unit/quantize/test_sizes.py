"""The comparison counts what each scheme would send."""

from __future__ import annotations

import numpy as np
import pytest

from common.manifest import BlobRef, TensorPart
from server.quantize.block_coder import BlockValues, dedicated_bytes, encode_block
from server.quantize.plan import State
from server.quantize.rounding import rounding
from server.quantize.sizes import SizeMeter, dedicated_sizes, paper_bytes

LEVELS = (4, 6, 8)
FLOOR = rounding("floor")
STATES = (State("w", (16, 50), 3200, quantized=True), State("b", (16,), 64, quantized=False))


def values_of(seed: int) -> BlockValues:
    weights = np.random.default_rng(seed).normal(size=(16, 50)).astype(np.float32)
    return BlockValues({TensorPart("w", (16, 50), 0, 16): weights}, {"b": np.zeros(16, np.float32)})


@pytest.mark.parametrize(
    ("count", "bits", "expected"),
    [
        (64, 4, 32),
        (65, 4, 40),
        (12, 5, 8),
        (13, 5, 16),
        (10, 6, 8),
        (21, 3, 8),
        (22, 3, 16),
        (1, 7, 8),
        (0, 4, 0),
    ],
)
def test_the_papers_packing_wastes_the_rest_of_each_word(count: int, bits: int, expected: int) -> None:
    assert paper_bytes(count, bits) == expected


def test_a_report_adds_up() -> None:
    meter = SizeMeter(LEVELS)
    values = values_of(0)
    coded = encode_block(values, LEVELS, FLOOR)
    meter.add(coded.block, dedicated_sizes(values, LEVELS))
    report = meter.report(STATES, [BlobRef("0" * 64, 7, 7, "raw"), BlobRef("1" * 64, 5, 5, "raw")])
    assert (report.weights, report.floats, report.metadata_bytes) == (800, 16, 12)
    assert report.fp32_bytes == 3200 + 64
    assert report.int8_bytes == report.separate_bytes[8] == dedicated_bytes(values, 8)
    assert set(report.separate_bytes) == set(LEVELS)
    assert report.base_bytes == coded.block.blobs[0].size_bytes
    assert report.shard_bytes == {6: coded.block.blobs[1].size_bytes, 8: coded.block.blobs[2].size_bytes}
    assert report.paper_high_bytes == 400 + 16 * 8 + 64
    assert report.paper_low_bytes == paper_bytes(800, 5) == 67 * 8
    assert meter.wire_bytes == report.base_bytes + sum(report.shard_bytes.values())


def test_int8_is_counted_when_it_is_no_level() -> None:
    meter = SizeMeter((3, 5))
    meter.add(encode_block(values_of(0), (3, 5), FLOOR).block, dedicated_sizes(values_of(0), (3, 5)))
    report = meter.report(STATES, [])
    assert report.int8_bytes == dedicated_bytes(values_of(0), 8)
    assert set(report.separate_bytes) == {3, 5}
    assert report.paper_low_bytes == paper_bytes(800, 3)


def test_one_level_has_no_low_part() -> None:
    meter = SizeMeter((8,))
    meter.add(encode_block(values_of(0), (8,), FLOOR).block, dedicated_sizes(values_of(0), (8,)))
    report = meter.report(STATES, [])
    assert (report.paper_low_bytes, report.shard_bytes) == (0, {})
    assert report.base_bytes == report.int8_bytes


def test_a_blob_that_two_blocks_share_counts_once() -> None:
    meter = SizeMeter(LEVELS)
    coded = encode_block(values_of(0), LEVELS, FLOOR)
    meter.add(coded.block, dedicated_sizes(values_of(0), LEVELS))
    once = meter.wire_bytes
    meter.add(coded.block, dedicated_sizes(values_of(0), LEVELS))
    assert meter.wire_bytes == once


def test_a_base_counts_as_one_whatever_its_level_and_a_shard_at_the_level_that_it_reaches() -> None:
    meter = SizeMeter(LEVELS)
    coded = [encode_block(values_of(seed), LEVELS[seed:], FLOOR) for seed in range(3)]
    for seed, item in enumerate(coded):
        meter.add(item.block, dedicated_sizes(values_of(seed), LEVELS))
    report = meter.report(STATES, [])
    bases = [item.block.blobs[0].size_bytes for item in coded]
    to_6, to_8 = coded[0].block.blobs[1:]
    assert report.base_bytes == sum(bases)
    assert report.shard_bytes == {6: to_6.size_bytes, 8: to_8.size_bytes + coded[1].block.blobs[1].size_bytes}
    assert meter.wire_bytes == sum(ref.size_bytes for item in coded for ref in item.block.blobs)
    assert report.separate_bytes[4] == sum(dedicated_bytes(values_of(seed), 4) for seed in range(3))
    assert report.int8_bytes == sum(dedicated_bytes(values_of(seed), 8) for seed in range(3))


def test_a_version_with_every_base_in_full_has_no_shards() -> None:
    meter = SizeMeter(LEVELS)
    meter.add(encode_block(values_of(0), (8,), FLOOR).block, dedicated_sizes(values_of(0), LEVELS))
    report = meter.report(STATES, [])
    assert report.shard_bytes == {6: 0, 8: 0}
    assert report.base_bytes == report.int8_bytes
