"""What may be transferred now: a rule over limits, clock, bytes of the month and kind of link. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from common.byte_sizes import format_bytes
from common.errors import Error
from common.quiet_hours import parse_quiet_hours
from common.transfer_limits import MeteredRule, TransferLimits
from device_agent.update.month import next_month_unix_ms

_FOR_EVER: Final = 1 << 63
_SET: Final = "`nestfleet limits DEVICE {}`"


class Limit(StrEnum):
    """Which limit stops a transfer, as ``TransferHold`` in control.proto says."""

    MONTHLY_BUDGET = "monthly_budget"
    METERED = "metered"
    QUIET_HOURS = "quiet_hours"
    DISK = "disk"
    UPDATE_BUDGET = "update_budget"
    BOARD = "board"


@dataclass(frozen=True, slots=True)
class TransferHold:
    """A limit that stops a transfer.

    Attributes:
        limit: Which one.
        detail: For the operator: what it is, and what ends it.
        until_unix_ms: When it ends by itself; 0: it does not.
    """

    limit: Limit
    detail: str
    until_unix_ms: int = 0

    def __post_init__(self) -> None:
        if not self.detail:
            raise ValueError("a hold has a reason")


class HeldError(Error):
    """A limit stopped a transfer at a byte; it goes on from there when the hold ends."""

    def __init__(self, hold: TransferHold) -> None:
        super().__init__(hold.detail)
        self.hold = hold


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How things stand.

    Attributes:
        now_unix_ms: By the device's clock.
        month_bytes: Bytes of all kinds that came and went in this calendar month, UTC.
        metered: Whether the link is metered.
        least_bytes: What must be left of the month's budget for a transfer to be of use.
        fallback: Whether ``least_bytes`` are a whole blob that would come in the place of a delta.
    """

    now_unix_ms: int
    month_bytes: int
    metered: bool
    least_bytes: int = 1
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may go. Where both holds are None, anything may that the budget leaves.

    Attributes:
        hold: Why no blob may come; None when some may.
        shard_hold: Why only metadata and bases may come; None when shards may too.
        left_bytes: What the month's budget leaves; None without a budget.
    """

    hold: TransferHold | None = None
    shard_hold: TransferHold | None = None
    left_bytes: int | None = None

    def granted(self, base_bytes: int, shard_bytes: int) -> tuple[int, int]:
        """How many bytes may come of metadata and bases, and of shards; bases go first."""
        if self.hold is not None:
            return 0, 0
        left_bytes = base_bytes + shard_bytes if self.left_bytes is None else self.left_bytes
        base = min(base_bytes, left_bytes)
        return base, 0 if self.shard_hold is not None else min(shard_bytes, left_bytes - base)


EVERYTHING: Final = Allowance()


def allowance(limits: TransferLimits, now: Circumstances) -> Allowance:
    """What may go now. Of several limits that hold, the one that ends last is named: nothing goes before."""
    holds = [hold for hold in (_month(limits, now), _metered(limits, now), _quiet(limits, now)) if hold]
    left_bytes = max(0, limits.monthly_bytes - now.month_bytes) if limits.monthly_bytes else None
    base_only = now.metered and limits.metered is MeteredRule.BASE_ONLY
    return Allowance(
        max(holds, key=lambda hold: hold.until_unix_ms or _FOR_EVER, default=None),
        _base_only() if base_only else None,
        left_bytes,
    )


def _month(limits: TransferLimits, now: Circumstances) -> TransferHold | None:
    budget = limits.monthly_bytes
    left_bytes = max(0, budget - now.month_bytes)
    if not budget or left_bytes >= max(now.least_bytes, 1):
        return None
    until = next_month_unix_ms(now.now_unix_ms)
    used = f"{format_bytes(now.month_bytes)} of this month's {format_bytes(budget)} are used"
    how = f"It goes on at {_utc(until)}, or with a larger budget: {_SET.format('--monthly SIZE')}."
    if now.fallback:
        needed = format_bytes(now.least_bytes)
        return TransferHold(
            Limit.UPDATE_BUDGET,
            f"No delta will do, and the whole blob needs {needed} ({now.least_bytes} bytes); {used}. {how}",
            until,
        )
    return TransferHold(Limit.MONTHLY_BUDGET, f"{used}. {how}", until)


def _metered(limits: TransferLimits, now: Circumstances) -> TransferHold | None:
    if not now.metered or limits.metered is not MeteredRule.NOTHING:
        return None
    how = f"It goes on over another link, or with another rule: {_SET.format('--metered base-only')}."
    return TransferHold(Limit.METERED, f"The link is metered, and nothing may come over it. {how}")


def _base_only() -> TransferHold:
    how = f"Shards come over another link, or with another rule: {_SET.format('--metered all')}."
    return TransferHold(Limit.METERED, f"The link is metered, and only bases may come over it. {how}")


def _quiet(limits: TransferLimits, now: Circumstances) -> TransferHold | None:
    if not limits.quiet_hours:
        return None
    hours = parse_quiet_hours(limits.quiet_hours)
    if not hours.contains(now.now_unix_ms):
        return None
    until = hours.end_after(now.now_unix_ms)
    return TransferHold(
        Limit.QUIET_HOURS, f"It is quiet from {hours} UTC. It goes on at {_utc(until)}.", until
    )


def _utc(unix_ms: int) -> str:
    return datetime.fromtimestamp(unix_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
