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


def block(levels: tuple[int, ...], rows: int, row_weights: int, float_bytes: int = 0) -> Block:
    """A block of these levels, its containers' headers of 100 bytes, and so many bytes of floats at each."""
    if not rows:
        return Block((), ("f",), (BlobRef("1" * 64, 90, 120, "block"),), ("0" * 64,))
    widths = (levels[0], *(high - low for low, high in pairwise(levels)))
    blobs = tuple(
        BlobRef(
            "1" * 64,
            90,
            (rows * row_weights * width + 7) // 8 + 8 * rows + (100 if not at else 0) + float_bytes,
            "block",
        )
        for at, width in enumerate(widths)
    )
    part = TensorPart("t", (rows, row_weights), 0, rows)
    floats = ("bias",) if float_bytes else ()
    return Block((part,), (), blobs, ("0" * 64,) * len(levels), level_floats=floats)


@st.composite
def manifests(draw: st.DrawFn) -> Manifest:
    levels = draw(LEVELS)
    kinds = st.tuples(
        st.integers(0, 40), st.integers(1, 300), st.sampled_from(levels), st.sampled_from([0, 0, 160])
    )
    blocks = tuple(
        block(levels[levels.index(base) :], rows, row_weights, float_bytes)
        for rows, row_weights, base, float_bytes in draw(st.lists(kinds, min_size=1, max_size=8))
    )
    return Manifest("m", 1, levels, "floor", NOTHING, NOTHING, blocks)


@given(manifests(), st.integers(0, 200_000))
def test_the_budget_holds_unless_the_base_alone_exceeds_it(manifest: Manifest, budget_bytes: int) -> None:
    chosen = target_levels(manifest, budget_bytes=budget_bytes)
    base = manifest.base_levels()
    assert len(chosen) == len(manifest.blocks)
    assert set(chosen) <= set(manifest.levels)
    assert total_bytes(manifest, chosen) <= budget_bytes or chosen == base
    assert all(low <= level for low, level in zip(base, chosen, strict=True))


@given(manifests(), st.integers(0, 200_000), st.integers(0, 200_000))
def test_more_budget_lowers_no_block(manifest: Manifest, one: int, other: int) -> None:
    poor = target_levels(manifest, budget_bytes=min(one, other))
    rich = target_levels(manifest, budget_bytes=max(one, other))
    assert all(low <= high for low, high in zip(poor, rich, strict=True))


@given(manifests(), st.integers(0, 200_000), st.integers(0, 9))
def test_no_block_is_lifted_two_levels_ahead_of_another(
    manifest: Manifest, budget: int, max_level: int
) -> None:
    chosen = target_levels(manifest, budget_bytes=budget, max_level=max_level)
    base = manifest.base_levels()
    lifted = [level for level, low in zip(chosen, base, strict=True) if level > low]
    below = lowest_level(manifest, chosen)
    positions = [manifest.levels.index(level) for level in (*lifted, below)]
    assert not lifted or max(positions) - manifest.levels.index(below) <= 1
    assert max(lifted, default=0) <= max(max_level or 8, manifest.levels[0])


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
        own = part.levels(manifest.levels)
        for (low, high), (below, above) in zip(pairwise(sizes), pairwise(manifest.levels), strict=True):
            assert low < high if {below, above} <= set(own) else low == high


@pytest.mark.parametrize(("level", "expected"), [(4, 1000 + 130), (6, 1500 + 210), (8, 2000 + 290)])
def test_the_figures_of_one_block(level: int, expected: int) -> None:
    # 10 rows of 200 weights; the floats' container counts 100 bytes; a grid of 5 a row
    assert block_bytes(block((4, 6, 8), 10, 200), (4, 6, 8), level) == expected + 100


@pytest.mark.parametrize(("level", "expected"), [(4, 1130 + 140), (6, 1710 + 180), (8, 2290 + 220)])
def test_floats_of_each_level_count_at_each_level_up_to_the_blocks(level: int, expected: int) -> None:
    assert block_bytes(block((4, 6, 8), 10, 200, float_bytes=40), (4, 6, 8), level) == expected


@pytest.mark.parametrize(("level", "expected"), [(4, 1500 + 130), (6, 1500 + 130), (8, 2000 + 210)])
def test_a_block_with_a_higher_base_takes_no_less_than_that(level: int, expected: int) -> None:
    assert block_bytes(block((6, 8), 10, 200), (4, 6, 8), level) == expected + 100


def test_a_block_above_the_others_raises_no_level_and_waits_for_them() -> None:
    blocks = (block((4, 6, 8), 10, 200), block((8,), 10, 200), block((6, 8), 10, 200))
    manifest = Manifest("m", 1, (4, 6, 8), "floor", NOTHING, NOTHING, blocks)
    assert target_levels(manifest, budget_bytes=0) == (4, 8, 6)
    assert lowest_level(manifest, (4, 8, 6)) == 4
    six = total_bytes(manifest, (6, 8, 6))
    assert target_levels(manifest, budget_bytes=six - 1) == (4, 8, 6)
    assert target_levels(manifest, budget_bytes=six) == (6, 8, 6)
    assert target_levels(manifest, budget_bytes=1 << 30, max_level=4) == (4, 8, 6)
    assert target_levels(manifest, budget_bytes=1 << 30, max_level=6) == (6, 8, 6)


def test_a_version_that_is_full_from_the_start_is_at_the_full_level() -> None:
    manifest = Manifest("m", 1, (4, 6, 8), "floor", NOTHING, NOTHING, (block((8,), 10, 200),) * 2)
    chosen = target_levels(manifest, budget_bytes=0)
    assert (chosen, lowest_level(manifest, chosen)) == ((8, 8), 8)
