"""What becomes of the slots when other goals are stated."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.digest import sha256_hex
from device_agent.store.records import Failure, Goal, Installed, Release, Slot
from device_agent.update.goal_intake import restated


def release(model: str, version: int = 1) -> Release:
    return Release(model, version, sha256_hex(f"{model}:{version}".encode()), 9)


def goal(model: str, version: int = 1, *, generation: int = 2, issued: int = 0, max_level: int = 0) -> Goal:
    return Goal(generation, release(model, version), max_level, issued_unix_ms=issued)


def runs(model: str, version: int = 1, *, wanted: bool = True) -> Slot:
    return Slot(model, goal(model, version) if wanted else None, Installed(release(model, version)))


names = st.sampled_from(["net", "speech", "vision", "sound"])
slot_sets = st.lists(names, unique=True, max_size=4).flatmap(
    lambda models: st.tuples(
        *(
            st.builds(
                Slot,
                st.just(model),
                goal=st.none() | st.just(goal(model)),
                active=st.none() | st.just(Installed(release(model))),
            )
            for model in models
        )
    )
)


@given(slot_sets, st.lists(names, unique=True, max_size=4), st.sets(names))
def test_wanted_models_come_first_in_their_order_and_nothing_that_runs_is_forgotten(
    slots: tuple[Slot, ...], wanted: list[str], running: set[str]
) -> None:
    after = restated(slots, [goal(model, generation=3) for model in wanted], running)
    assert [slot.model for slot in after][: len(wanted)] == wanted
    assert len({slot.model for slot in after}) == len(after)
    assert all((slot.goal is not None) == (slot.model in wanted) for slot in after)
    active = {slot.model for slot in slots if slot.active is not None}
    assert active & running <= {slot.model for slot in after}
    assert {slot.model for slot in after} <= active | set(wanted)


def test_what_is_not_wanted_any_more_is_remembered_until_the_next_assignment() -> None:
    both = (runs("net"), runs("speech"))
    one = restated(both, [goal("net", generation=3)], {"net", "speech"})
    assert [(slot.model, slot.goal is not None) for slot in one] == [("net", True), ("speech", False)]
    again = restated(one, [goal("net", generation=4), goal("speech", generation=4)], {"net"})
    assert [slot.active for slot in again] == [slot.active for slot in both]
    two = restated(one, [goal("net", 2, generation=4)], {"net"})
    assert [slot.model for slot in two] == ["net"]
    assert restated(one, [], {"net"}) == (replace(one[0], goal=None), one[1]), "nothing is wanted: all stays"


def test_another_level_of_what_runs_counts_at_once_and_forgives() -> None:
    failed = replace(runs("net"), failure=Failure(2, release("net"), "internal", ""))
    (slot,) = restated([failed], [goal("net", generation=3, max_level=6)], {"net"})
    assert slot.active == Installed(release("net"), 6)
    assert slot.failure is None


@pytest.mark.parametrize(
    ("stated", "still_failed"),
    [
        (goal("net", 2, generation=3, issued=7), True),
        (goal("net", 2, generation=3, issued=8), False),
        (goal("net", 2, generation=3, issued=7, max_level=4), False),
        (goal("net", 3, generation=3, issued=7), False),
    ],
)
def test_what_failed_is_tried_again_when_it_is_stated_anew_not_when_others_are(
    stated: Goal, *, still_failed: bool
) -> None:
    failure = Failure(2, release("net", 2), "self_test_failed", "")
    slot = replace(runs("net"), goal=goal("net", 2, issued=7), failure=failure)
    assert slot.failed
    after, _ = restated([slot], [stated, goal("speech", generation=3)], {"net"})
    assert after.failed is still_failed


def test_what_failed_is_tried_again_where_nobody_says_when_it_was_stated() -> None:
    slot = replace(runs("net"), goal=goal("net", 2), failure=Failure(2, release("net", 2), "internal", ""))
    (after,) = restated([slot], [goal("net", 2, generation=3)], {"net"})
    assert not after.failed
