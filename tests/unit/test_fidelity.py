"""Which level is worth serving, what a byte of a block gains, and the report as bytes."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.blob_codec import encode_bytes
from common.errors import IntegrityError, InvalidInputError
from common.fidelity import (
    BlockSensitivity,
    FidelityReport,
    LevelFidelity,
    ShardGain,
    TensorFidelity,
    lowest_worth_serving,
)
from common.fidelity_codec import MAX_JSON_BYTES, decode, encode, from_json, to_json
from common.manifest import canonical_json
from tests.support.fidelity import block_gains, level_fidelity, some_report

_TEXTS = st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), min_size=1, max_size=20)
_SHARES = st.floats(0, 1)
_DECIBELS = st.none() | st.floats(-1000, 1000)
_SIZES = st.integers(1, 1 << 40)


@st.composite
def reports(draw: st.DrawFn) -> FidelityReport:
    levels = tuple(sorted(draw(st.sets(st.integers(2, 8), min_size=1))))
    indices = sorted(draw(st.sets(st.integers(0, 65_535), max_size=4)))
    return FidelityReport(
        draw(st.integers(1, 10_000)),
        draw(st.sampled_from(("calibration", "evaluation", "example"))),
        draw(st.none() | _SHARES),
        tuple(draw(_levels(level)) for level in levels),
        draw(st.sampled_from(("output", "weights"))),
        draw(st.integers(0, 32)),
        tuple(draw(_blocks(index, levels)) for index in indices),
        tuple(draw(st.lists(_tensors(levels), max_size=4))),
    )


def _levels(level: int) -> st.SearchStrategy[LevelFidelity]:
    maybe = st.none() | _SHARES
    return st.builds(
        LevelFidelity, st.just(level), _SIZES, _DECIBELS, st.floats(-1, 1), _DECIBELS, maybe, maybe
    )


@st.composite
def _blocks(draw: st.DrawFn, index: int, levels: tuple[int, ...]) -> BlockSensitivity:
    own = levels[draw(st.integers(0, len(levels) - 1)) :]
    shards = tuple(ShardGain(level, draw(_SIZES), draw(st.floats(0, 1e30))) for level in own[1:])
    return BlockSensitivity(index, draw(_TEXTS), draw(st.integers(1, 4096)), own[0], shards)


@st.composite
def _tensors(draw: st.DrawFn, levels: tuple[int, ...]) -> TensorFidelity:
    own = levels[draw(st.integers(0, len(levels) - 1)) :]
    widths = tuple(min(high - low + draw(st.integers(0, 2)), 8) for low, high in pairwise(own))
    return TensorFidelity(draw(_TEXTS), draw(_TEXTS), own, tuple(draw(_DECIBELS) for _ in own), widths)


@pytest.mark.parametrize(
    ("cosines", "lowest"),
    [
        ((0.9, 0.95, 0.99), 4),
        ((0.8999, 0.95, 0.99), 6),
        ((0.95, 0.89, 0.99), 8),
        ((0.95, 0.95, 0.89), None),
    ],
)
def test_without_labels_a_level_needs_its_cosine_and_those_above_theirs(
    cosines: tuple[float, ...], lowest: int | None
) -> None:
    levels = [level_fidelity(level, cosine) for level, cosine in zip((4, 6, 8), cosines, strict=True)]
    assert lowest_worth_serving(levels) == lowest


@pytest.mark.parametrize(
    ("hits", "lowest"),
    [
        ((0.95, 0.96, 0.97), 4),
        ((0.9499, 0.96, 0.97), 6),
        ((0.97, 0.94, 0.97), 8),
        ((0.97, 0.97, 0.94), None),
        ((0.98, 0.99, 1.0), 4),
    ],
)
def test_with_labels_two_points_below_the_floats_are_allowed_and_cosines_do_not_count(
    hits: tuple[float, ...], lowest: int | None
) -> None:
    levels = [level_fidelity(level, 0.1, top1) for level, top1 in zip((4, 6, 8), hits, strict=True)]
    assert lowest_worth_serving(levels, 0.97) == lowest


@given(reports())
def test_every_level_from_the_lowest_worth_serving_on_is_worth_it_and_the_one_below_is_not(
    report: FidelityReport,
) -> None:
    levels = [found.level for found in report.levels]
    lowest = report.serving_level
    start = levels.index(lowest) if lowest else len(levels)
    worth = [lowest_worth_serving([found], report.fp32_top1) is not None for found in report.levels]
    assert all(worth[start:])
    assert start == 0 or not worth[start - 1]


def test_a_block_gains_what_its_shards_gain_over_all_their_bytes() -> None:
    block = block_gains(0, "w", 0.03, 0.01, size_bytes=100)
    assert (block.gain, block.shard_bytes, block.gain_per_byte) == (0.04, 200, 0.0002)
    assert block.shards[0].gain_per_byte == 0.0003
    assert block_gains(0, "w").gain_per_byte == 0.0


@given(reports())
def test_a_report_comes_back_from_its_blob_as_it_went(report: FidelityReport) -> None:
    data, ref = encode(report)
    assert decode(data, ref) == report
    assert encode(report) == (data, ref)


def test_the_report_of_many_blocks_is_small() -> None:
    blocks = tuple(
        block_gains(i, f"layers.{i}.weight", 0.0123456 / (i + 1), 1e-4 / (i + 1)) for i in range(90)
    )
    assert encode(replace(some_report(), blocks=blocks))[1].size_bytes < 4096


def _changed(**changes: Any) -> bytes:
    """The bytes of a report, some of whose values are others: ``levels__0__top1=2.0``."""
    tree = json.loads(to_json(some_report()))
    for path, value in changes.items():
        *way, last = [int(step) if step.isdigit() else step for step in path.split("__")]
        place = tree
        for step in way:
            place = place[step]
        place[last] = value
    return canonical_json(tree)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"more": 1},
        {"samples": 0},
        {"samples": True},
        {"samples": 1 << 60},
        {"sample_kind": "training"},
        {"sample_kind": ["example"]},
        {"fp32_top1": 1.5},
        {"fp32_top1": 1},
        {"levels": []},
        {"levels": {}},
        {"levels__0__level": 6},
        {"levels__0__level": 1},
        {"levels__0__output_cosine": 1.01},
        {"levels__0__output_cosine": None},
        {"levels__0__output_cosine": "0.9"},
        {"levels__0__weight_sqnr_db": 1e4},
        {"levels__0__size_bytes": -1},
        {"levels__0__size_bytes": 1.0},
        {"levels__0__surprise": 1},
        {"sensitivity": "guess"},
        {"blocks__0__block": 1},
        {"blocks__0__block": 65_536},
        {"blocks__0__first_tensor": ""},
        {"blocks__0__first_tensor": "x" * 513},
        {"blocks__0__first_tensor": "\x1b[2J"},
        {"blocks__0__base_level": 6},
        {"blocks__0__tensors": 0},
        {"blocks__0__shards__0__gain": -0.1},
        {"blocks__0__shards__0__size_bytes": 0},
        {"blocks__0__shards__0__level": 8},
        {"tensors__0__levels": []},
        {"tensors__0__levels": [4, 6]},
        {"tensors__0__shard_bits": [2]},
        {"tensors__0__shard_bits": [2, 9]},
        {"tensors__0__weight_sqnr_db": [1.0, 2.0]},
    ],
)
def test_values_that_no_report_has_are_refused(changes: dict[str, Any]) -> None:
    assert from_json(_changed()) == some_report()
    with pytest.raises(InvalidInputError):
        from_json(_changed(**changes))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"null",
        b"[" * 100_000,
        b"\xff",
        b" " + to_json(some_report()),
        to_json(some_report()).replace(b"0.92", b"0.920"),
        to_json(some_report()).replace(b"0.92", b"NaN"),
        to_json(some_report()).replace(b"0.02", b"1e999"),
        to_json(some_report()).replace(b'"first.weight"', b'"\\ud800"'),
        to_json(some_report()).replace(b'"samples":64', b'"samples":' + b"9" * 5000),
    ],
)
def test_bytes_that_are_no_canonical_report_are_refused(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        from_json(data)


def test_a_damaged_blob_and_one_beyond_the_limit_are_refused() -> None:
    data, ref = encode(some_report())
    with pytest.raises(IntegrityError):
        decode(data[:-1] + bytes([data[-1] ^ 1]), ref)
    with pytest.raises(IntegrityError, match="exceeds"):
        decode(data, replace(ref, raw_size_bytes=MAX_JSON_BYTES + 1))
    with pytest.raises(IntegrityError, match="more than"):
        decode(data, replace(ref, raw_size_bytes=ref.raw_size_bytes - 1))
    with pytest.raises(InvalidInputError, match="more than"):
        from_json(bytes(MAX_JSON_BYTES + 1))
    with pytest.raises(InvalidInputError):
        decode(*encode_bytes(b"{}", compress=True))


def test_a_report_that_contradicts_itself_is_not_encoded() -> None:
    report = some_report()
    with pytest.raises(InvalidInputError):
        encode(replace(report, levels=report.levels[::-1]))
