"""What a replay comes to: figures for people and for programs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Final

from common.byte_sizes import format_bytes
from device_agent.replay.simulation import Moment

_HOUR_SECONDS: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Summary:
    """A replay in figures.

    Attributes:
        looks: How many.
        seconds: From the first look to the last.
        switches: Looks at which what was held changed the level of any block.
        most_switches_in_an_hour: Of them, in any 60 minutes.
        seconds_by_level: Time at each level, by the lowest block.
        seconds_base_only: Time in which everything was held at its base.
        mean_bits: Over weights and time.
        paged_bytes, fetched_bytes: Shards read from disk, and downloaded.
        seconds_over_budget: Time in which weights took more than the sensors allowed, and than their base.
        seconds_base_over_budget: Time in which the base alone took more than that.
    """

    looks: int
    seconds: float
    switches: int
    most_switches_in_an_hour: int
    seconds_by_level: Mapping[int, float]
    seconds_base_only: float
    mean_bits: float
    paged_bytes: int
    fetched_bytes: int
    seconds_over_budget: float
    seconds_base_over_budget: float


def summarize(moments: Sequence[Moment], base_bytes: int) -> Summary:
    """The figures of a replay of at least one look."""
    spans = list(_spans(moments))
    seconds = sum(span for _, span in spans)
    by_level: dict[int, float] = {}
    for moment, span in spans:
        by_level[moment.level] = by_level.get(moment.level, 0.0) + span
    over = [(moment, span) for moment, span in spans if moment.weights_bytes > moment.budget_bytes]
    switched = [moment.at_seconds for moment in moments if moment.switched]
    return Summary(
        looks=len(moments),
        seconds=seconds,
        switches=len(switched),
        most_switches_in_an_hour=_most_in_an_hour(switched),
        seconds_by_level=dict(sorted(by_level.items())),
        seconds_base_only=sum(span for moment, span in spans if moment.base_only),
        mean_bits=sum(moment.mean_bits * span for moment, span in spans) / seconds
        if seconds
        else moments[-1].mean_bits,
        paged_bytes=moments[-1].paged_bytes,
        fetched_bytes=moments[-1].fetched_bytes,
        seconds_over_budget=sum(span for moment, span in over if moment.weights_bytes > base_bytes),
        seconds_base_over_budget=sum(span for moment, span in over if moment.weights_bytes <= base_bytes),
    )


def to_tree(summary: Summary) -> dict[str, Any]:
    """The figures as JSON can carry them."""
    by_level = {str(level): seconds for level, seconds in summary.seconds_by_level.items()}
    return {**asdict(summary), "seconds_by_level": by_level}


def format_summary(summary: Summary) -> str:
    """The figures for people, one a line."""
    hours = [
        f"at {level} bits   {seconds / _HOUR_SECONDS:.2f} h"
        for level, seconds in summary.seconds_by_level.items()
    ]
    lines = [
        f"time        {summary.seconds / _HOUR_SECONDS:.2f} h in {summary.looks} looks",
        f"switches    {summary.switches}, at most {summary.most_switches_in_an_hour} in an hour",
        *hours,
        f"held low    {summary.seconds_base_only / _HOUR_SECONDS:.2f} h",
        f"mean        {summary.mean_bits:.2f} bits a weight",
        f"paged in    {format_bytes(summary.paged_bytes)}",
        f"fetched     {format_bytes(summary.fetched_bytes)}",
        f"over budget {summary.seconds_over_budget:.0f} s",
    ]
    if summary.seconds_base_over_budget:
        lines.append(f"base alone  over budget for {summary.seconds_base_over_budget / _HOUR_SECONDS:.2f} h")
    return "\n".join(lines) + "\n"


def _spans(moments: Sequence[Moment]) -> Iterator[tuple[Moment, float]]:
    """Each moment and how long it lasted; the last none."""
    for moment, following in pairwise(moments):
        yield moment, following.at_seconds - moment.at_seconds


def _most_in_an_hour(times_seconds: Sequence[float]) -> int:
    most = first = 0
    for index, at_seconds in enumerate(times_seconds):
        while times_seconds[first] < at_seconds - _HOUR_SECONDS:
            first += 1
        most = max(most, index - first + 1)
    return most
