"""The residency policy: what a memory budget buys."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.manifest import BlobRef, Block, Manifest, TensorPart
from device_agent.residency.policy import block_bytes, lowest_level, target_levels, total_bytes

LEVELS = st.sampled_from([levels for count in range(1, 5) for levels in combinations(range(2, 9), count)])
NOTHING = BlobRef("0" * 64, 1, 1, "raw")


def block(levels: tuple[int, ...], rows: int, row_weights: int) -> Block:
    if not rows:
        return Block((), ("f",), (BlobRef("1" * 64, 90, 120, "zstd"),), ("0" * 64,))
    base_bits = levels[0] if levels[0] <= 4 else 8
    raw_size_bytes = (rows * row_weights * base_bits + 7) // 8 + 8 * rows + 100
    blobs = (BlobRef("1" * 64, 90, raw_size_bytes, "zstd"), *[NOTHING] * (len(levels) - 1))
    part = TensorPart("t", (rows, row_weights), 0, rows)
    return Block((part,), (), blobs, ("0" * 64,) * len(levels))


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    levels = draw(LEVELS)
    sizes = draw(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 300)), min_size=1, max_size=8))
    blocks = tuple(block(levels, rows, row_weights) for rows, row_weights in sizes)
    return Manifest("m", 1, levels, "floor", NOTHING, NOTHING, blocks)


@given(manifests(), st.integers(0, 200_000))
def test_the_budget_holds_unless_the_base_alone_exceeds_it(manifest: Manifest, budget_bytes: int) -> None:
    chosen = target_levels(manifest, budget_bytes=budget_bytes)
    base = (manifest.levels[0],) * len(manifest.blocks)
    assert len(chosen) == len(manifest.blocks)
    assert set(chosen) <= set(manifest.levels)
    assert total_bytes(manifest, chosen) <= budget_bytes or chosen == base


@given(manifests(), st.integers(0, 200_000), st.integers(0, 200_000))
def test_more_budget_lowers_no_block(manifest: Manifest, one: int, other: int) -> None:
    poor = target_levels(manifest, budget_bytes=min(one, other))
    rich = target_levels(manifest, budget_bytes=max(one, other))
    assert all(low <= high for low, high in zip(poor, rich, strict=True))


@given(manifests(), st.integers(0, 200_000), st.integers(0, 9))
def test_no_block_is_two_levels_ahead_of_another(manifest: Manifest, budget: int, max_level: int) -> None:
    chosen = target_levels(manifest, budget_bytes=budget, max_level=max_level)
    quantized = {level for level, part in zip(chosen, manifest.blocks, strict=True) if part.tensors}
    positions = sorted(manifest.levels.index(level) for level in quantized)
    assert not positions or positions[-1] - positions[0] <= 1
    assert max(chosen) <= max(max_level or 8, manifest.levels[0])


@given(manifests())
def test_enough_budget_reaches_the_full_level(manifest: Manifest) -> None:
    chosen = target_levels(manifest, budget_bytes=1 << 40)
    assert lowest_level(manifest, chosen) == manifest.levels[-1]
    for level, part in zip(chosen, manifest.blocks, strict=True):
        assert level == (manifest.levels[-1] if part.tensors else manifest.levels[0])


@given(manifests())
def test_a_higher_level_takes_more(manifest: Manifest) -> None:
    for part in manifest.blocks:
        sizes = [block_bytes(part, manifest.levels, level) for level in manifest.levels]
        assert all(low < high if part.tensors else low == high for low, high in pairwise(sizes))


@pytest.mark.parametrize(("level", "expected"), [(4, 1000 + 80), (6, 1500 + 160), (8, 2000 + 240)])
def test_the_figures_of_one_block(level: int, expected: int) -> None:
    # 10 rows of 200 weights; the container's header counts 100 bytes
    assert block_bytes(block((4, 6, 8), 10, 200), (4, 6, 8), level) == expected + 100
