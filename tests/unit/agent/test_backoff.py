from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from device_agent.link.backoff import Backoff


@given(st.lists(st.floats(0, 0.999), min_size=1, max_size=30))
def test_waits_double_up_to_the_longest_and_begin_anew_after_a_success(rolls: list[float]) -> None:
    dice = iter([*rolls, 0.0])
    backoff = Backoff(first_seconds=1, longest_seconds=16, dice=lambda: next(dice))
    for count, _ in enumerate(rolls):
        most = min(2**count, 16)
        assert most / 2 <= backoff.next_seconds() <= most
    backoff.reset()
    assert backoff.next_seconds() == 0.5
