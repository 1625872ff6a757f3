"""Work in the background waits for requests, and comes to its end all the same."""

from __future__ import annotations

import threading

import pytest

from device_agent.residency.courtesy import Courtesy
from tests.support.waiting import wait_until


def test_work_goes_on_at_once_when_nobody_asks() -> None:
    courtesy = Courtesy(longest_seconds=1000)
    courtesy.begin()
    courtesy._mine.since -= 1000
    courtesy.give_way()


def test_work_waits_until_the_last_request_is_answered() -> None:
    courtesy = Courtesy(longest_seconds=1000)
    answered: list[str] = []
    seen: list[list[str]] = []

    def work() -> None:
        courtesy.begin()
        courtesy._mine.since -= 1000
        courtesy.give_way()
        seen.append(list(answered))

    thread = threading.Thread(target=work)
    with courtesy.answering():
        with courtesy.answering():
            thread.start()
            wait_until(lambda: bool(vars(courtesy._changed)["_waiters"]), "work waits")
            answered.append("first")
        answered.append("second")
    thread.join(60)
    assert seen == [["first", "second"]]


def test_work_goes_on_under_a_request_that_does_not_end() -> None:
    courtesy = Courtesy(longest_seconds=0.01)
    with courtesy.answering():
        courtesy.begin()
        for _ in range(5):
            courtesy.give_way()


def test_a_request_that_fails_has_ended_too() -> None:
    courtesy = Courtesy(longest_seconds=1000)
    with pytest.raises(ValueError, match="wrong"), courtesy.answering():
        int("wrong")
    courtesy.begin()
    courtesy._mine.since -= 1000
    courtesy.give_way()
