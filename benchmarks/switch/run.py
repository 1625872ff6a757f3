"""Measures one model: each pair of its levels, alone and under load, and separate models beside it."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.quantize.tasks.task import Task
from benchmarks.switch.load import Infer, Request, answer_digest, capacity_per_second, p99_ms, steady
from benchmarks.switch.on_disk import OnDisk, one_request
from benchmarks.switch.row import Row
from benchmarks.switch.scale import Scale
from benchmarks.switch.switching import BackAndForth, Switch, states_between
from device_agent.inference.answering import Answer
from device_agent.inference.served import ServedModel

LEVELS = (4, 6, 8)


@dataclass(slots=True)
class _Loaded:
    """What came of the load on one pair of levels."""

    quiet: list[list[Request]]
    under: list[list[Request]]
    switches: list[list[Switch]]
    mixed: int = 0

    def during(self, to_level: int) -> list[list[Request]]:
        """Of each round, the requests that a change to a level ran beside."""
        return [
            [
                request
                for request in requests
                if any(switch.to_level == to_level and switch.beside(request) for switch in switches)
            ]
            for requests, switches in zip(self.under, self.switches, strict=True)
        ]


def measure(task: Task, folder: Path, scale: Scale, tell: Callable[[str], None]) -> Iterator[Row]:
    """One model's rows."""
    tell(f"{task.name}: quantize")
    nested = OnDisk.made(task, LEVELS, folder / "nested")
    tell(f"{task.name}: quantize for each level alone")
    separate = {level: OnDisk.made(task, (level,), folder / str(level)) for level in LEVELS}
    served = nested.load(LEVELS[0])
    if not scale.packed:
        served.set_memory(4 * nested.weights)
    for low, high in itertools.combinations(LEVELS, 2):
        alone = {
            (start, end): _alone(served, nested, start, end, scale.repeats)
            for start, end in ((low, high), (high, low))
        }
        assert alone[low, high][0] == nested.shard_bytes(low, high), "an upgrade reads its shards"
        assert alone[high, low][0] == 0, "a downgrade reads nothing"
        loads = {level: _separately(separate[level], level, scale.loads) for level in (low, high)}
        tell(f"{task.name}: {low} and {high} bits under load")
        loaded = _under_load(task, served, (low, high), scale)
        for (start, end), (bytes_read, seconds) in alone.items():
            yield _row(task.name, nested, (start, end), bytes_read, seconds, loaded, loads, separate)


def _row(  # noqa: PLR0917
    name: str,
    nested: OnDisk,
    levels: tuple[int, int],
    bytes_read: int,
    seconds: float,
    loaded: _Loaded,
    loads: Mapping[int, tuple[int, float]],
    separate: Mapping[int, OnDisk],
) -> Row:
    under = [request for requests in loaded.under for request in requests]
    during = loaded.during(levels[1])
    return Row(
        model=name,
        from_level=levels[0],
        to_level=levels[1],
        bytes_read=bytes_read,
        seconds=round(seconds, 6),
        ms_per_mweight=round(seconds * 1e9 / nested.weights, 4),
        p99_ms_during=round(min((p99_ms(requests) for requests in during if requests), default=0.0), 3),
        p99_ms_quiet=round(min(map(p99_ms, loaded.quiet)), 3),
        separate_bytes_read=loads[levels[1]][0],
        separate_packed_bytes=separate[levels[1]].packed_bytes,
        separate_seconds=round(loads[levels[1]][1], 6),
        failed_requests=sum(request.answer is None for request in under),
        mixed_requests=loaded.mixed,
        requests=len(under),
        requests_during=sum(map(len, during)),
        switches=sum(switch.to_level == levels[1] for some in loaded.switches for switch in some),
        weights=nested.weights,
    )


def _alone(served: ServedModel, nested: OnDisk, start: int, end: int, repeats: int) -> tuple[int, float]:
    """Bytes read, and the least seconds, of a change with nothing else to do."""
    seconds = []
    for _ in range(repeats):
        served.set_levels(nested.manifest.nearest(start))
        nested.read_bytes = 0
        begun = time.perf_counter()
        served.set_levels(nested.manifest.nearest(end))
        seconds.append(time.perf_counter() - begun)
    return nested.read_bytes, min(seconds)


def _separately(version: OnDisk, level: int, repeats: int) -> tuple[int, float]:
    """Bytes read, and the least seconds, of loading a model of one level."""
    seconds = []
    for _ in range(repeats):
        version.read_bytes = 0
        begun = time.perf_counter()
        version.load(level)
        seconds.append(time.perf_counter() - begun)
    return version.read_bytes, min(seconds)


def _under_load(task: Task, served: ServedModel, levels: tuple[int, int], scale: Scale) -> _Loaded:
    inputs = one_request(task, served)

    def infer() -> Answer:
        return served.infer(inputs)

    known = _answers(served, infer, levels)
    per_second = scale.load * capacity_per_second(infer)
    count = scale.requests[task.name] // scale.rounds
    loaded = _Loaded([], [], [])
    for _ in range(scale.rounds):
        for level in levels:
            served.set_levels(served.manifest.nearest(level))
            loaded.quiet.append(steady(infer, per_second, count // 2))
        with BackAndForth(served, levels) as changes:
            loaded.under.append(steady(infer, per_second, count))
        loaded.switches.append(changes.switches)
    answers = [request.answer for requests in loaded.under for request in requests]
    loaded.mixed = sum(answer is not None and answer not in known for answer in answers)
    return loaded


def _answers(served: ServedModel, infer: Infer, levels: tuple[int, int]) -> set[str]:
    """What every state gives that a change publishes."""
    known = set()
    states = states_between(served.manifest, *levels)
    for state in states:
        served.set_levels(state)
        known.add(answer_digest(list(infer().outputs.values())))
    assert len(known) == len(states), "a state's answer is its own, or requests that mix states go unseen"
    return known
