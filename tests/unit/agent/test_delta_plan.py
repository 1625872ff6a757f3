"""Which deltas serve, and which offers are believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.link.server import DeltaOffer
from device_agent.update.delta_plan import DeltaPlan, Rebuild, by_block, delta_items
from device_agent.update.fetch_plan import missing_blobs
from tests.support.deltas import DeltaDesk
from tests.support.fleet import TestVersion, make_version

ONE = make_version(1, scale=8)
TWO = make_version(2, scale=8, near=True)
PARTLY = make_version(2, scale=8, near=True, changed=1)
NEW = [[ref.digest for ref in block.blobs] for block in TWO.manifest.blocks]
OLD = [[ref.digest for ref in block.blobs] for block in ONE.manifest.blocks]


def plan_of(
    present: set[str], *, wanted: TestVersion = TWO, level: int = 8, lost: frozenset[str] = frozenset()
) -> DeltaPlan:
    plan = missing_blobs(wanted.manifest, wanted.manifest.nearest(level), present.__contains__)
    return DeltaPlan(wanted.manifest, ONE.manifest, plan, present.__contains__, lost.__contains__)


def offers_for(plan: DeltaPlan, wanted: TestVersion = TWO, *, piecemeal: bool = False) -> list[DeltaOffer]:
    return DeltaDesk(piecemeal=piecemeal).offers(
        (wanted.manifest, wanted.blobs),
        (ONE.manifest, ONE.blobs),
        plan.blobs_per_block,
        plan.present_per_block,
    )


def chosen(plan: DeltaPlan, offers: Sequence[DeltaOffer]) -> tuple[Rebuild, ...]:
    return plan.rebuilds(offers, lambda _: 0, ())


def test_a_device_with_all_of_the_old_version_asks_for_all_of_the_new() -> None:
    plan = plan_of(ONE.device_blobs)
    assert plan.blobs_per_block == (3, 3, 3, 0)
    assert plan.present_per_block == (0, 0, 0, 0)
    assert set(plan.digests) == {digest for block in NEW[:3] for digest in block}


def test_bases_alone_lead_to_bases_alone() -> None:
    plan = plan_of({block[0] for block in OLD})
    assert plan.blobs_per_block == (1, 1, 1, 0)
    assert set(plan.digests) == {block[0] for block in NEW[:3]}
    assert plan_of(ONE.device_blobs, level=4).blobs_per_block == (1, 1, 1, 0)


def test_bases_that_are_here_are_not_asked_for_again() -> None:
    plan = plan_of(ONE.device_blobs | {block[0] for block in NEW})
    assert plan.blobs_per_block == (3, 3, 3, 0)
    assert plan.present_per_block == (1, 1, 1, 0)


def test_a_hole_in_the_old_version_ends_what_can_be_had_from_it() -> None:
    plan = plan_of(ONE.device_blobs - {OLD[1][1]})
    assert plan.blobs_per_block == (3, 1, 3, 0)


def test_blocks_that_did_not_change_are_not_asked_for() -> None:
    plan = plan_of(ONE.device_blobs, wanted=PARTLY)
    assert plan.blobs_per_block == (0, 0, 3, 0)


def test_a_base_that_has_to_come_whole_is_known_to_the_deltas_above_it() -> None:
    plan = plan_of(ONE.device_blobs, lost=frozenset({NEW[0][0]}))
    assert (plan.present_per_block[0], plan.blobs_per_block[0]) == (1, 3)
    assert NEW[0][0] not in plan.digests
    assert [rebuild.span.first for rebuild in chosen(plan, offers_for(plan))][:1] == [0]


def test_a_shard_that_has_to_come_whole_ends_what_deltas_bring() -> None:
    plan = plan_of(ONE.device_blobs, lost=frozenset({NEW[0][1]}))
    assert (plan.present_per_block[0], plan.blobs_per_block[0]) == (0, 1)


def test_after_a_kill_that_left_the_base_for_last_the_same_delta_is_asked_for() -> None:
    plan = plan_of(ONE.device_blobs | {NEW[0][1], NEW[0][2]})
    assert (plan.present_per_block[0], plan.blobs_per_block[0]) == (0, 3)
    rebuild = next(rebuild for rebuild in chosen(plan, offers_for(plan)) if rebuild.block == 0)
    assert (rebuild.span.first, rebuild.span.last) == (0, 2)


def test_an_offer_that_was_made_for_more_still_serves_for_less() -> None:
    offers = offers_for(plan_of(ONE.device_blobs))
    later = plan_of(ONE.device_blobs | {NEW[0][0]})
    assert len(chosen(later, offers)) == 3


@given(
    present=st.sets(st.sampled_from(sorted(ONE.device_blobs | TWO.device_blobs))),
    lost=st.frozensets(st.sampled_from(sorted(TWO.device_blobs)), max_size=3),
    level=st.sampled_from([4, 6, 8]),
    piecemeal=st.booleans(),
)
def test_whatever_is_chosen_can_be_rebuilt_and_saves_bytes(
    present: set[str],
    lost: frozenset[str],
    level: int,
    piecemeal: bool,  # noqa: FBT001
) -> None:
    plan = plan_of(present, level=level, lost=lost)
    missing = {
        ref.digest: ref
        for _, ref in missing_blobs(TWO.manifest, TWO.manifest.nearest(level), present.__contains__)
    }
    rebuilds = chosen(plan, offers_for(plan, piecemeal=piecemeal))
    brought: set[str] = set()
    for group in by_block(rebuilds):
        for rebuild in group:
            held = ONE.manifest.blocks[rebuild.held_block].blobs[: rebuild.span.last + 1]
            assert {ref.digest for ref in held} <= present
            below = {ref.digest for ref in rebuild.below}
            assert below <= present | brought | set(missing)
            fresh = [ref for ref in rebuild.refs if ref.digest in missing and ref.digest not in lost]
            assert rebuild.delta.size_bytes < sum(ref.size_bytes for ref in fresh)
            assert not brought & {ref.digest for ref in fresh}, "nothing is brought twice"
            brought |= {ref.digest for ref in rebuild.refs}
    assert brought & set(missing) - lost <= set(plan.digests)
    items = delta_items(rebuilds)
    assert len({item.digest for item, _ in items}) == len(items)


def spoilt(offer: DeltaOffer) -> list[DeltaOffer]:
    """The offer in ways in which it is of no use."""
    stranger = "ab" * 32
    return [
        replace(offer, digests=(stranger, *offer.digests[1:])),
        replace(offer, digests=offer.digests[::-1]),
        replace(offer, digests=()),
        replace(offer, from_digests=()),
        replace(offer, from_digests=(stranger, *offer.from_digests[1:])),
        replace(offer, from_digests=offer.from_digests[:-1]),
        replace(offer, delta_size_bytes=0),
        replace(offer, delta_size_bytes=1 << 40),
        replace(offer, delta_digest=OLD[0][0]),
    ]


@pytest.mark.parametrize("way", range(9))
def test_an_offer_of_no_use_is_left_out(way: int) -> None:
    plan = plan_of(ONE.device_blobs)
    offer = offers_for(plan)[0]
    assert len(plan.rebuilds([offer], lambda _: 0, ONE.device_blobs)) == 1
    assert plan.rebuilds([spoilt(offer)[way]], lambda _: 0, ONE.device_blobs) == ()


def test_a_whole_blob_that_is_nearly_here_needs_no_delta() -> None:
    plan = plan_of(ONE.device_blobs)
    offers = offers_for(plan)
    sizes = {ref.digest: ref.size_bytes for ref in TWO.manifest.device_refs()}
    nearly = {digest: sizes[digest] - 5 for digest in NEW[0]}
    rebuilds = plan.rebuilds(offers, lambda digest: nearly.get(digest, 0), ())
    assert [rebuild.block for rebuild in rebuilds] == [1, 2]


def test_one_name_with_two_sizes_is_believed_once() -> None:
    plan = plan_of(ONE.device_blobs)
    first, second, _ = offers_for(plan)
    liar = replace(second, delta_digest=first.delta_digest, delta_size_bytes=first.delta_size_bytes + 1)
    assert [rebuild.block for rebuild in chosen(plan, [first, liar])] == [0]
