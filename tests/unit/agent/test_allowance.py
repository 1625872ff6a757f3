from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.quiet_hours import parse_quiet_hours
from common.transfer_limits import MeteredRule, TransferLimits
from device_agent.update.allowance import Circumstances, Limit, TransferHold, allowance
from tests.support.faults.wrong_clock import utc_ms

NOON_MS = utc_ms("2026-11-25 12:00")
counts = st.integers(0, 1 << 40)
limits = st.builds(
    TransferLimits,
    st.just(0),
    counts,
    st.none() | st.sampled_from(MeteredRule),
    st.sampled_from(["", "22:00-06:00", "08:00-18:30", "00:00-00:00"]),
)
moments = st.integers(0, 1 << 42)
circumstances = st.builds(
    Circumstances, moments, counts, st.booleans(), st.integers(1, 1 << 21), st.booleans()
)


@given(limits, circumstances, counts, counts)
def test_never_more_than_the_budget_leaves_and_never_less_without_a_reason(
    limits: TransferLimits, now: Circumstances, base_bytes: int, shard_bytes: int
) -> None:
    allowed = allowance(limits, now)
    base, shards = allowed.granted(base_bytes, shard_bytes)
    assert 0 <= base <= base_bytes
    assert 0 <= shards <= shard_bytes
    if limits.monthly_bytes:
        assert now.month_bytes + base + shards <= max(limits.monthly_bytes, now.month_bytes)
    if (base, shards) != (base_bytes, shard_bytes) and allowed.left_bytes != base + shards:
        reason = allowed.hold or allowed.shard_hold
        assert reason is not None
        assert reason.detail


@given(limits, circumstances)
def test_a_hold_ends_when_it_says(limits: TransferLimits, now: Circumstances) -> None:
    hold = allowance(limits, now).hold
    if hold is None or not hold.until_unix_ms:
        return
    assert hold.until_unix_ms > now.now_unix_ms
    fresh = Circumstances(hold.until_unix_ms, 0, now.metered)
    after = allowance(limits, fresh).hold
    assert after is None or after.limit is not hold.limit


@given(limits, circumstances, counts, counts, counts)
def test_more_budget_and_fewer_used_bytes_never_allow_less(
    limits: TransferLimits, now: Circumstances, more: int, base_bytes: int, shard_bytes: int
) -> None:
    if not limits.monthly_bytes:
        return
    granted = allowance(limits, now).granted(base_bytes, shard_bytes)
    larger = allowance(replace(limits, monthly_bytes=limits.monthly_bytes + more), now)
    fewer = allowance(limits, replace(now, month_bytes=max(0, now.month_bytes - more)))
    for other in (larger, fewer):
        assert all(a <= b for a, b in zip(granted, other.granted(base_bytes, shard_bytes), strict=True))


@given(limits, circumstances)
def test_quiet_hours_hold_exactly_while_they_last(limits: TransferLimits, now: Circumstances) -> None:
    only = TransferLimits(quiet_hours=limits.quiet_hours)
    quiet = bool(only.quiet_hours) and parse_quiet_hours(only.quiet_hours).contains(now.now_unix_ms)
    hold = allowance(only, now).hold
    assert (hold is not None and hold.limit is Limit.QUIET_HOURS) is quiet


def test_a_fallback_that_the_budget_does_not_leave_says_what_it_needs() -> None:
    now = Circumstances(NOON_MS, 900, metered=False, least_bytes=200, fallback=True)
    hold = allowance(TransferLimits(monthly_bytes=1000), now).hold
    assert hold is not None
    assert hold.limit is Limit.UPDATE_BUDGET
    assert "200 bytes" in hold.detail
    assert hold.until_unix_ms == utc_ms("2026-12-01 00:00")
    assert allowance(TransferLimits(monthly_bytes=1100), now).hold is None


@pytest.mark.parametrize(
    ("rule", "bulk", "shards"),
    [
        (None, True, True),
        (MeteredRule.ALL, True, True),
        (MeteredRule.BASE_ONLY, True, False),
        (MeteredRule.NOTHING, False, False),
    ],
)
def test_rules_for_a_metered_link(rule: MeteredRule | None, *, bulk: bool, shards: bool) -> None:
    granted = allowance(TransferLimits(metered=rule), Circumstances(NOON_MS, 0, metered=True)).granted(3, 5)
    assert granted == (3 * bulk, 5 * shards)
    free = allowance(TransferLimits(metered=rule), Circumstances(NOON_MS, 0, metered=False))
    assert free.granted(3, 5) == (3, 5)


def test_of_several_holds_the_one_that_ends_last_is_named() -> None:
    limits = TransferLimits(monthly_bytes=1, metered=MeteredRule.NOTHING, quiet_hours="08:00-18:00")
    now = Circumstances(NOON_MS, 5, metered=True)
    named = [allowance(limits, now).hold, allowance(limits, replace(now, metered=False)).hold]
    assert [hold.limit for hold in named if hold] == [Limit.METERED, Limit.MONTHLY_BUDGET]


def test_a_hold_without_a_reason_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="reason"):
        TransferHold(Limit.DISK, "")
