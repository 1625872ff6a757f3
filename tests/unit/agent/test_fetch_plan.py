"""In which order a version comes."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from common.manifest import Manifest
from device_agent.store.ledger import Kind
from device_agent.update.fetch_plan import wanted_blobs
from tests.support.fleet import make_version

PLAIN = make_version(1).manifest
BLOCKS = len(PLAIN.blocks)
GAINS = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)), min_size=BLOCKS, max_size=BLOCKS)


def measured(gains: list[tuple[int, int]]) -> Manifest:
    blocks = [
        replace(block, gains=pair if len(block.blobs) == 3 else ())
        for block, pair in zip(PLAIN.blocks, gains, strict=True)
    ]
    return replace(PLAIN, blocks=tuple(blocks))


def gain_per_byte(manifest: Manifest, digest: str) -> float:
    return next(
        block.gains[index - 1] / ref.size_bytes
        for block in manifest.blocks
        for index, ref in enumerate(block.blobs)
        if ref.digest == digest
    )


@given(gains=GAINS)
def test_within_a_step_the_most_fidelity_per_byte_comes_first(gains: list[tuple[int, int]]) -> None:
    manifest = measured(gains)
    plan = [item for item, _ in wanted_blobs(manifest, (8,) * BLOCKS)]
    kinds = [(item.kind is Kind.SHARD, item.kind is not Kind.METADATA, item.level) for item in plan]
    assert kinds == sorted(kinds), "metadata, bases, and then step after step for all blocks"
    for level in (6, 8):
        worth = [
            gain_per_byte(manifest, item.digest)
            for item in plan
            if item.kind is Kind.SHARD and item.level == level
        ]
        assert len(worth) == 3
        assert worth == sorted(worth, reverse=True)


def test_where_nobody_has_measured_the_order_is_the_manifests() -> None:
    plan = [item.digest for item, _ in wanted_blobs(PLAIN, (8,) * BLOCKS)]
    shards = [block.blobs[step].digest for step in (1, 2) for block in PLAIN.blocks if len(block.blobs) == 3]
    assert plan[-len(shards) :] == shards
