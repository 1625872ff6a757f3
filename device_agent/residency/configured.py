"""The residency's rules as the settings have them."""

from __future__ import annotations

from common.transfer_limits import MeteredRule
from device_agent.residency.board_limits import Rules
from device_agent.residency.policy.hysteresis import Pace
from device_agent.residency.policy.rules import Thresholds
from device_agent.settings import Settings

_PERCENT = 100


def residency_rules(settings: Settings, *, metered_rule: MeteredRule = MeteredRule.ALL) -> Rules:
    """From sensors to limits.

    Args:
        settings: What somebody set.
        metered_rule: What may come over a metered link, where no transfer gate sees to that.
    """
    at = Thresholds(
        reserve_bytes=settings.reserve_bytes,
        spare_bytes=settings.spare_memory_bytes,
        pressure_some_percent=settings.pressure_some_percent,
        pressure_full_percent=settings.pressure_full_percent,
        pressure_shrink=settings.pressure_shrink_percent / _PERCENT,
        disk_reserve_bytes=settings.disk_reserve_bytes,
        hot_celsius=settings.hot_celsius,
        battery_low=settings.battery_low_percent / _PERCENT,
        battery_critical=settings.battery_critical_percent / _PERCENT,
        metered_rule=metered_rule,
    )
    pace = Pace(grow_ms=int(settings.grow_seconds * 1000), switches_per_hour=settings.switches_per_hour)
    return Rules(at, pace, settings.margin_percent / _PERCENT)
