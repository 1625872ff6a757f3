"""Runtimes take turns: as many each, in changing orders, for as long as the plan says."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.inference.plan import QUICK
from benchmarks.inference.processes.messages import Timed, Turn
from benchmarks.inference.processes.turns import take_turns


class Recorded:
    """A runtime that notes when it has its turn."""

    def __init__(self, name: str, taken: list[str]) -> None:
        self._name = name
        self._taken = taken
        self.turns: list[Turn] = []

    def take(self, turn: Turn) -> Timed:
        self._taken.append(self._name)
        self.turns.append(turn)
        return Timed([0.25, 0.5], 0.125, len(self.turns))


def test_all_have_as_many_turns_and_no_fixed_neighbours() -> None:
    order: list[str] = []
    workers = {name: Recorded(name, order) for name in "abc"}
    taken = take_turns(workers, 8, replace(QUICK, least_turns=10, most_turns=10, seconds=0.0))
    rounds = ["".join(order[at : at + 3]) for at in range(0, 30, 3)]
    assert all(sorted(each) == ["a", "b", "c"] for each in rounds)
    assert len(set(rounds)) > 2
    assert taken["a"].call_seconds == [0.25, 0.5] * 10
    assert (taken["a"].rss_bytes, taken["a"].stray_seconds) == (10, 1.25)
    assert workers["a"].turns[0] == Turn(8, QUICK.calls, QUICK.turn_seconds, QUICK.rest_seconds)


def test_time_ends_the_turns_but_not_before_the_least_of_them() -> None:
    workers = {"a": Recorded("a", [])}
    plan = replace(QUICK, least_turns=2, most_turns=100)
    assert len(take_turns(workers, 1, replace(plan, seconds=-1.0))["a"].call_seconds) == 4
    assert len(take_turns(workers, 1, replace(plan, seconds=60.0))["a"].call_seconds) == 200
