from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.channel import MAX_CHUNK_BYTES
from common.errors import InvalidInputError
from server.delivery.stream.window import LEAST_AHEAD_BYTES, LEAST_CHUNK_BYTES, MAX_AHEAD_BYTES, Window


@given(rate=st.floats(1e3, 1e9), seconds=st.floats(0.1, 20), careful=st.booleans())
def test_the_bounds_hold_at_any_rate(rate: float, seconds: float, *, careful: bool) -> None:
    window = Window(0.0)
    if careful:
        window.be_careful()
    now, sent, taken = 0.0, 0, 0
    while now < seconds:
        while window.has_room(window.chunk_bytes):
            chunk_bytes = window.chunk_bytes
            assert LEAST_CHUNK_BYTES <= chunk_bytes <= MAX_CHUNK_BYTES
            window.sent(chunk_bytes, now)
            sent += chunk_bytes
            assert sent - taken == window.ahead_bytes <= MAX_AHEAD_BYTES
        assert sent > taken, "a device that has taken all gets more"
        now += 0.05
        taken = min(sent, taken + max(1, int(rate * 0.05)))
        window.took(taken, now)
        assert LEAST_AHEAD_BYTES <= window.limit_bytes <= MAX_AHEAD_BYTES
        if careful:
            # A cut costs a small share of what came, or of a moment.
            assert window.chunk_bytes <= max(LEAST_CHUNK_BYTES, taken / 64, rate * 0.0021)


def test_a_fast_device_gets_large_pieces_and_a_slow_one_little_ahead() -> None:
    fast, slow = Window(0.0), Window(0.0)
    for window, rate in ((fast, 500e6), (slow, 125e3)):
        taken, now = 0, 0.0
        for _ in range(400):
            while window.has_room(window.chunk_bytes):
                window.sent(window.chunk_bytes, now)
            now += 0.01
            taken += min(window.ahead_bytes, int(rate * 0.01))
            window.took(taken, now)
    assert fast.chunk_bytes == MAX_CHUNK_BYTES
    assert fast.limit_bytes == MAX_AHEAD_BYTES
    assert slow.limit_bytes < LEAST_AHEAD_BYTES + 150_000
    assert slow.chunk_bytes < 32 * 1024


def test_time_with_nothing_under_way_does_not_count() -> None:
    window = Window(0.0)
    window.sent(60_000, 100.0)
    window.took(60_000, 100.1)
    assert window.limit_bytes > LEAST_AHEAD_BYTES + 500_000


@pytest.mark.parametrize("taken_bytes", [11, 3])
def test_what_cannot_have_been_taken_is_refused(taken_bytes: int) -> None:
    window = Window(0.0)
    window.sent(10, 0.0)
    assert window.took(4, 1.0) == 4
    with pytest.raises(InvalidInputError):
        window.took(taken_bytes, 2.0)


def test_a_device_that_says_no_more_gets_one_window() -> None:
    window = Window(0.0)
    window.no_more_words()
    assert window.has_room(MAX_AHEAD_BYTES)
    assert not window.has_room(MAX_AHEAD_BYTES + 1)
