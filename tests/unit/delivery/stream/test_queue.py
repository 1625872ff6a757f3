from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import InvalidInputError
from server.delivery.stream.queue import MAX_IN_MESSAGE, MAX_WAITING, WantQueue

NAMES = st.sampled_from("abcdef")


def taken(queue: WantQueue) -> list[tuple[int, str]]:
    found = []
    while (want := queue.take()) is not None:
        found.append((want.index, want.digest))
    return found


@given(messages=st.lists(st.lists(st.tuples(NAMES, st.integers(0, 9)), max_size=5)), offered=st.sets(NAMES))
def test_what_is_wanted_comes_in_order_and_knows_whether_it_is_offered(
    messages: list[list[tuple[str, int]]], offered: set[str]
) -> None:
    queue = WantQueue()
    for message in messages:
        queue.add(message, offered)
    flat = [item for message in messages for item in message]
    for index, (digest, offset_bytes) in enumerate(flat):
        want = queue.take()
        assert want is not None
        assert (want.index, want.digest, want.offset_bytes) == (index, digest, offset_bytes)
        assert want.offered == (digest in offered)
        assert not queue.idle
        queue.ended(want)
    assert queue.take() is None
    assert queue.idle


@given(wanted=st.lists(NAMES), cancelled=st.sets(NAMES), begun=st.integers(0, 5))
def test_what_is_cancelled_is_dropped_wherever_it_is(
    wanted: list[str], cancelled: set[str], begun: int
) -> None:
    queue = WantQueue()
    queue.add([(name, 0) for name in wanted], ())
    under_way = [want for want in (queue.take() for _ in range(begun)) if want is not None]
    queue.cancel(cancelled)
    for want in under_way:
        assert queue.dropped(want) == (want.digest in cancelled)
        queue.ended(want)
        assert not queue.dropped(want)
    rest = [(index, name) for index, name in enumerate(wanted) if name not in cancelled]
    assert taken(queue) == rest[len([want for want in under_way if want.digest not in cancelled]) :]


def test_a_message_and_the_queue_have_bounds() -> None:
    queue = WantQueue()
    with pytest.raises(InvalidInputError, match="at most 1024"):
        queue.check(MAX_IN_MESSAGE + 1)
    for _ in range(MAX_WAITING // MAX_IN_MESSAGE):
        queue.add([("a", 0)] * MAX_IN_MESSAGE, ())
    with pytest.raises(InvalidInputError, match="at most 65536 may wait"):
        queue.add([("a", 0)], ())
    assert queue.take() is not None
    queue.add([("a", 0)], ())
    assert len(queue) == MAX_WAITING
