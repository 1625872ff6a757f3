"""What is held of what the board allows: down at once, up slowly, and only so often. A pure state machine.

The bound: while ``need_bytes`` stays the same, at most ``switches_per_hour`` switches happen in any 60
minutes, whatever the sensors say. A switch is a change of what is there for lifts, ``min(memory,
need_bytes)``, or 0 at the base; nothing else in ``Held`` moves a block.

How it holds, though a way down is never refused: a bucket holds half that number of tokens and gets as many
an hour, so in an hour it gives no more than that number. Every switch takes one. A way up needs two and takes
one, so above the base there is always one left for the way down. A way down that takes the last one goes all
the way to the base, from where nothing can go down, and the next way up has to wait for two. In short: who
flaps too often waits at the base. (Where need rises while the bucket is empty, one way down is owed.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from device_agent.residency.policy.rules import BASE_ONLY, UNLIMITED_BYTES, Allowed

_HOUR_MS: Final = 3_600_000
_TOKEN: Final = _HOUR_MS


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast what is held may follow.

    Attributes:
        grow_ms: So long without a break must more have been allowed, with a margin, before it is taken.
        switches_per_hour: The bound; even, and at least 4.
        least_growth: A way up that stops below what is needed brings at least this share more.
    """

    grow_ms: int = 30_000
    switches_per_hour: int = 12
    least_growth: float = 0.1

    def __post_init__(self) -> None:
        if self.switches_per_hour < 4 or self.switches_per_hour % 2:  # noqa: PLR2004
            raise ValueError(f"{self.switches_per_hour} switches an hour are no even number from 4 on")

    @property
    def capacity(self) -> int:
        """What the bucket holds; a token is ``_TOKEN`` of it, and each millisecond brings an equal share."""
        return self.switches_per_hour // 2 * _TOKEN


@dataclass(frozen=True, slots=True)
class Held:
    """What holds.

    Attributes:
        memory_bytes: Memory for weights, never more than allowed.
        max_level: ``BASE_ONLY``, or 0 for no limit.
        fetch: Whether shards may be downloaded, never where that is not allowed.
    """

    memory_bytes: int
    max_level: int
    fetch: bool

    def switchable(self, need_bytes: int) -> int:
        """Bytes that decide on levels: what is beyond need changes none, and at the base none does."""
        return 0 if self.max_level else min(self.memory_bytes, need_bytes)


@dataclass(frozen=True, slots=True)
class State:
    """All that is remembered between two looks.

    Attributes:
        held: What holds.
        credit: Tokens left, in parts.
        at_ms: When that was.
        growing_since_ms: Since when more has been allowed without a break; None where it is not.
        growing_bytes: The least that was allowed in that time.
        fetch_since_ms: Since when downloads have been allowed again; None where they are not, or go on.
        exhausted: Whether the base is held since switches ran out.
    """

    held: Held
    credit: int
    at_ms: int
    growing_since_ms: int | None = None
    growing_bytes: int = 0
    fetch_since_ms: int | None = None
    exhausted: bool = False


def settle(
    state: State | None,
    may: Allowed,
    easily: Allowed,
    now_ms: int,
    *,
    pace: Pace,
    need_bytes: int = UNLIMITED_BYTES,
) -> tuple[State, Held]:
    """The next state, and what holds now.

    Args:
        state: The state before; None at the start, where what is easily had is taken at once, but nothing
            beyond the base where nothing may be lifted.
        may: What is allowed: ``held.memory_bytes`` is never above it, a level never above ``may.max_level``.
        easily: What is allowed with a margin, no more than ``may``: what is loosened is loosened up to here.
        now_ms: Milliseconds, which never run backwards.
        pace: How fast.
        need_bytes: What weights take at the most; beyond, memory follows freely.
    """
    if state is None:
        held = Held(easily.memory_bytes, 0 if may.lift and not may.max_level else BASE_ONLY, may.fetch)
        return State(held, pace.capacity, now_ms), held
    now_ms = max(now_ms, state.at_ms)
    refill = (now_ms - state.at_ms) * (pace.switches_per_hour // 2)
    state = replace(state, credit=min(pace.capacity, state.credit + refill), at_ms=now_ms)
    down = _down(state.held, may, easily, need_bytes)
    if down != state.held:
        state = _switched(state, down, need_bytes)
    state = _fetching(_up(state, easily, pace, need_bytes), may, easily, pace)
    return state, state.held


def _down(held: Held, may: Allowed, easily: Allowed, need_bytes: int) -> Held:
    """What is left of what was held: where it has to go down, a margin further."""
    memory_bytes = held.memory_bytes
    if memory_bytes > may.memory_bytes:
        enough_bytes = min(need_bytes, may.memory_bytes)
        # Where need still fits, nothing has to move; at the base nothing moves, and every byte may be kept.
        memory_bytes = max(easily.memory_bytes, enough_bytes if enough_bytes == need_bytes else 0)
        if held.max_level or may.max_level:
            memory_bytes = may.memory_bytes
    return replace(held, memory_bytes=memory_bytes, max_level=held.max_level or may.max_level)


def _switched(state: State, held: Held, need_bytes: int) -> State:
    """The state with something else held, a token less if that is a switch."""
    if held.switchable(need_bytes) == state.held.switchable(need_bytes):
        return replace(state, held=held)
    exhausted = state.credit < 2 * _TOKEN
    if exhausted:
        held = replace(held, max_level=BASE_ONLY)
    return replace(
        state,
        held=held,
        credit=state.credit - _TOKEN,
        growing_since_ms=None,
        exhausted=exhausted,
    )


def _up(state: State, easily: Allowed, pace: Pace, need_bytes: int) -> State:
    """The state once what may grow has grown."""
    held, more = state.held, Held(easily.memory_bytes, easily.max_level, state.held.fetch)
    barred = not easily.lift or more.max_level
    before, after = held.switchable(need_bytes), more.switchable(need_bytes)
    freer = after == before and (held.max_level or more.memory_bytes > held.memory_bytes)
    if barred or not (after > before or freer):
        return replace(state, growing_since_ms=None)
    since_ms, least_bytes = state.at_ms, more.memory_bytes
    if state.growing_since_ms is not None:
        since_ms, least_bytes = state.growing_since_ms, min(least_bytes, state.growing_bytes)
    grown = replace(more, memory_bytes=least_bytes)
    if state.at_ms - since_ms < pace.grow_ms:
        return replace(state, growing_since_ms=since_ms, growing_bytes=least_bytes)
    cost = _TOKEN if grown.switchable(need_bytes) != before else 0
    if state.credit < 2 * cost or not _is_worth_it(held, grown, pace, need_bytes):
        # Waiting begins anew, so that what was little long ago does not count for ever.
        return replace(state, growing_since_ms=state.at_ms, growing_bytes=more.memory_bytes)
    return replace(state, held=grown, credit=state.credit - cost, growing_since_ms=None, exhausted=False)


def _is_worth_it(held: Held, grown: Held, pace: Pace, need_bytes: int) -> bool:
    """Whether a way up leaves the base, reaches what is needed, or brings a fair share more."""
    if held.max_level or held.switchable(need_bytes) < need_bytes <= grown.memory_bytes:
        return True
    return grown.memory_bytes >= max(held.memory_bytes + 1, held.memory_bytes * (1 + pace.least_growth))


def _fetching(state: State, may: Allowed, easily: Allowed, pace: Pace) -> State:
    """Downloads stop at once, and begin again after as long a wait as a way up needs."""
    held = state.held
    if not may.fetch:
        return replace(state, held=replace(held, fetch=False), fetch_since_ms=None)
    if held.fetch or not easily.fetch:
        return replace(state, fetch_since_ms=None)
    since_ms = state.at_ms if state.fetch_since_ms is None else state.fetch_since_ms
    if state.at_ms - since_ms < pace.grow_ms:
        return replace(state, fetch_since_ms=since_ms)
    return replace(state, held=replace(held, fetch=True), fetch_since_ms=None)
