"""What leaves a short disk, and what may come."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.manifest import BlobRef, Block, Manifest, TensorPart
from device_agent.residency.policy.disk import DiskPlan, Holding, disk_plan

LEVELS = (4, 6, 8)
OTHER = {"f" * 64: 7}


def blob(name: str, size_bytes: int = 10) -> BlobRef:
    return BlobRef(name.encode().hex().ljust(64, "0"), size_bytes, size_bytes, "block")


def manifest(name: str, *gains: tuple[int, int], shared: int = 0) -> Manifest:
    """A version of blocks of three blobs; the first ``shared`` of them are the same in every version."""
    blocks = []
    for index, pair in enumerate(gains):
        prefix = f"{'x' if index < shared else name}{index}"
        blobs = tuple(blob(f"{prefix}{part}") for part in "bst")
        part = TensorPart("t", (4, 4), 0, 4)
        blocks.append(Block((part,), (), blobs, ("0" * 64,) * 3, gains=pair))
    return Manifest(name, 1, LEVELS, "floor", blob(f"{name}g"), blob(f"{name}t"), tuple(blocks))


def sizes(*versions: Manifest, without: set[str] = frozenset()) -> dict[str, int]:  # type: ignore[assignment]
    refs = [ref for version in versions for ref in version.device_refs()]
    return OTHER | {ref.digest: ref.size_bytes for ref in refs if ref.digest not in without}


def digest(name: str) -> str:
    return blob(name).digest


ONE = manifest("a", (100, 5), (900, 400))
OLD = manifest("o", (50, 20))


def test_within_the_budget_nothing_goes() -> None:
    assert disk_plan([Holding(ONE, (8, 8))], sizes(ONE), 1000) == DiskPlan()


def test_the_way_back_loses_its_shards_first_then_what_is_beyond_the_target_then_the_target() -> None:
    holdings = [Holding(ONE, (4, 8)), Holding(OLD)]
    here = sizes(ONE, OLD)
    plan = disk_plan(holdings, here, 0)
    order = ["o0t", "o0s", "a0t", "a0s", "a1t", "a1s"]
    assert plan.drop == tuple(map(digest, order)), "the upper shard of a block before the lower"
    assert plan.over_bytes == sum(here.values()) - 60
    for count in range(len(order)):
        budget = sum(here.values()) - 10 * count
        assert disk_plan(holdings, here, budget).drop == tuple(map(digest, order[:count]))


def test_a_base_pushes_out_any_shard_and_a_shard_only_what_is_less_dear() -> None:
    two = manifest("b", (500, 200))
    here = sizes(ONE)
    budget = sum(here.values()) + 5
    plan = disk_plan([Holding(ONE, (4, 8)), Holding(two, (8,))], here, budget)
    bases = ["bg", "bt", "b0b"]
    assert plan.fetch[:3] == tuple(map(digest, bases))
    assert plan.drop[:2] == (digest("a0t"), digest("a0s"))
    assert len(plan.fetch) == 3, "shards of the target stay for shards of the target"
    assert plan.drop == (digest("a0t"), digest("a0s"), digest("a1t"))


def test_missing_shards_come_the_dearest_first_as_far_as_there_is_room() -> None:
    gone = {digest(name) for name in ("a0s", "a0t", "a1s", "a1t")}
    here = sizes(ONE, without=gone)
    plan = disk_plan([Holding(ONE, (8, 8))], here, sum(here.values()) + 30)
    assert plan == DiskPlan((), (digest("a1s"), digest("a1t"), digest("a0s")))


def test_a_blob_that_two_versions_name_is_as_dear_as_to_the_dearer() -> None:
    new, old = (manifest(name, (100, 50), (9, 9), shared=1) for name in ("n", "p"))
    plan = disk_plan([Holding(new, (8, 8)), Holding(old)], sizes(new, old), 0)
    assert plan.drop[:2] == (digest("p1t"), digest("p1s"))
    assert plan.drop.index(digest("x0t")) > 1


VERSIONS = st.lists(
    st.tuples(
        st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=4),
        st.none() | st.sampled_from(LEVELS),
    ),
    min_size=1,
    max_size=3,
)


@given(VERSIONS, st.integers(0, 500), st.sets(st.integers(0, 60)))
def test_a_plan_keeps_every_base_stays_in_its_budget_and_has_no_shard_without_the_one_below(
    versions: list[tuple[list[tuple[int, int]], int | None]], budget_bytes: int, missing: set[int]
) -> None:
    holdings = [
        Holding(manifest(name, *gains), None if level is None else (level,) * len(gains))
        for name, (gains, level) in zip("abc", versions, strict=False)
    ]
    refs = [ref for item in holdings for ref in item.manifest.device_refs()]
    absent = {ref.digest for index, ref in enumerate(refs) if index in missing}
    here = sizes(*(item.manifest for item in holdings), without=absent)
    plan = disk_plan(holdings, here, budget_bytes)
    vital = {
        ref.digest
        for item in holdings
        for ref in (
            item.manifest.graph,
            item.manifest.self_test,
            *(block.blobs[0] for block in item.manifest.blocks),
        )
    }
    assert set(plan.drop) <= set(here) - vital - set(OTHER)
    assert len(set(plan.drop)) == len(plan.drop)
    assert not set(plan.fetch) & set(here)
    after = {name: size for name, size in here.items() if name not in plan.drop}
    after |= {ref.digest: ref.size_bytes for ref in refs if ref.digest in plan.fetch}
    if plan.over_bytes:
        assert set(after) == (vital - absent) | set(OTHER)
        assert sum(after.values()) == budget_bytes + plan.over_bytes
    else:
        assert sum(after.values()) <= budget_bytes
    for item in holdings:
        for block in item.manifest.blocks:
            lower, upper = (ref.digest for ref in block.blobs[1:])
            assert not (lower in plan.drop and upper in after and upper not in plan.fetch)


@pytest.mark.parametrize("budget_bytes", [0, 7])
def test_a_disk_that_holds_nothing_but_bases_stays_over_its_budget(budget_bytes: int) -> None:
    gone = {digest(name) for name in ("o0s", "o0t")}
    here = sizes(OLD, without=gone)
    plan = disk_plan([Holding(OLD, (4,))], here, budget_bytes)
    assert plan == DiskPlan((), (), sum(here.values()) - budget_bytes)
