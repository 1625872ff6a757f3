from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from server.quantize.workers.window import in_order


@given(st.lists(st.integers()), st.data())
def test_order_and_bound_hold_while_the_room_changes(items: list[int], data: st.DataObject) -> None:
    begun: list[int] = []
    finished: list[int] = []
    rooms: list[int] = []

    def room() -> int:
        rooms.append(data.draw(st.integers(1, 5)))
        return rooms[-1]

    def begin(item: int) -> int:
        assert len(begun) - len(finished) < rooms[-1]
        begun.append(item)
        return item

    def finish(job: int) -> int:
        finished.append(job)
        return job

    left: list[Sequence[int]] = []
    abandon = left.append
    assert list(in_order(items, begin=begin, room=room, finish=finish, abandon=abandon)) == items
    assert begun == finished == items
    assert [list(jobs) for jobs in left] == [[]]


@given(st.integers(1, 6), st.integers(0, 8), st.booleans())
def test_jobs_that_nobody_waits_for_are_abandoned(room: int, taken: int, fails: bool) -> None:  # noqa: FBT001
    abandoned: list[int] = []

    def finish(job: int) -> int:
        if fails and job == taken:
            raise ArithmeticError
        return job

    results = in_order(
        range(100), begin=lambda item: item, room=lambda: room, finish=finish, abandon=abandoned.extend
    )
    for expected in range(taken):
        assert next(results) == expected
    if fails:
        try:
            next(results)
        except ArithmeticError:
            assert abandoned == list(range(taken + 1, taken + room))
    else:
        results.close()
        assert abandoned == (list(range(taken, taken - 1 + room)) if taken else [])
