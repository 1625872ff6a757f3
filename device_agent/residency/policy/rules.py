"""What the board's state allows: the rules from sensors to limits. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from common.byte_sizes import format_bytes
from common.transfer_limits import MeteredRule
from device_agent.sensors.readings import Readings

# Lower than every level, so that a version is held at its base.
BASE_ONLY: Final = 1
UNLIMITED_BYTES: Final = 1 << 60
_COOLER_CELSIUS: Final = 5.0
_FULLER_FRACTION: Final = 0.05
_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Where the rules set in. A share is a fraction of 1, a percentage one of 100.

    Attributes:
        reserve_bytes: Memory for everything but weights, of the process's limit.
        spare_bytes: Memory that stays available to others.
        pressure_some_percent, pressure_full_percent: Pressure from which memory is short, and very short.
        pressure_shrink: Share of the budget that goes while it is short; twice that while it is very short.
        disk_reserve_bytes: Room on the disk that stays free.
        hot_celsius: From here on the processor is hot.
        battery_low, battery_critical: Below, charge is low, and critical.
        metered_rule: What may come over a metered link. In the agent the transfer gate applies the operator's
            rule, and this one says nothing.
        margin: Share of what is available that is left alone where limits are to be loosened.
    """

    reserve_bytes: int = 384 * _MIB
    spare_bytes: int = 32 * _MIB
    pressure_some_percent: float = 10.0
    pressure_full_percent: float = 5.0
    pressure_shrink: float = 0.25
    disk_reserve_bytes: int = 32 * _MIB
    hot_celsius: float = 80.0
    battery_low: float = 0.20
    battery_critical: float = 0.10
    metered_rule: MeteredRule = MeteredRule.ALL
    margin: float = 0.0

    def stricter(self, margin: float) -> Thresholds:
        """Where the board has to be before limits are loosened again: clear of every threshold.

        Args:
            margin: Share of the available memory that has to be there beyond what is taken.
        """
        return replace(
            self,
            pressure_some_percent=self.pressure_some_percent / 2,
            pressure_full_percent=self.pressure_full_percent / 2,
            hot_celsius=self.hot_celsius - _COOLER_CELSIUS,
            battery_low=self.battery_low + _FULLER_FRACTION if self.battery_low else 0.0,
            battery_critical=self.battery_critical + _FULLER_FRACTION if self.battery_critical else 0.0,
            margin=margin,
        )


@dataclass(frozen=True, slots=True)
class Allowed:
    """What the board allows now.

    Attributes:
        memory_bytes: Memory for weights, at least 0.
        disk_bytes: What the store may take beyond what it takes; below 0, what it should give back.
        max_level: Highest level, ``BASE_ONLY``, or 0 for no limit.
        lift: Whether anything may go up.
        fetch: Whether shards may be downloaded; bases always may.
        why: What is less than the board could do at its best, and for what reason.
    """

    memory_bytes: int = UNLIMITED_BYTES
    disk_bytes: int = UNLIMITED_BYTES
    max_level: int = 0
    lift: bool = True
    fetch: bool = True
    why: tuple[str, ...] = ()


def allowed(readings: Readings, at: Thresholds) -> Allowed:
    """What the rules say. Each rule takes something away, none gives; a sensor that is absent takes nothing.

    ==================  =====================================  =============================================
    reading             condition                              consequence
    ==================  =====================================  =============================================
    memory limit        there is one                           budget at most limit - ``reserve_bytes``
    memory available    there is one                           budget at most available + what weights take
                                                               - ``spare_bytes``
    memory pressure     some ≥ ``pressure_some_percent``       budget less ``pressure_shrink``, no lifts
    memory pressure     full ≥ ``pressure_full_percent``       budget less twice that, no lifts
    disk                free ≤ ``disk_reserve_bytes``          no shards downloaded
    processor           ≥ ``hot_celsius``, or throttled        no lifts, no shards downloaded
    battery             < ``battery_low``, not on mains        no lifts, no shards downloaded
    battery             < ``battery_critical``, not on mains   base
    link                metered, and a ``metered_rule``        no shards downloaded
    ==================  =====================================  =============================================

    The process's own needs count twice over, and so are safe from each other: ``reserve_bytes`` of its limit
    are never promised to weights, and what it takes beyond that is not available. The budget rises with
    available memory and limit, and falls with pressure. A board whose power is not known is not on mains.
    """
    why: list[str] = []
    memory_bytes = _memory(readings, at, why)
    short = _pressure(readings, at, why)
    if short:
        memory_bytes = int(memory_bytes * (1 - min(1.0, short * at.pressure_shrink)))
    disk_bytes = _disk(readings, at, why)
    hot = _hot(readings, at, why)
    low, critical = _battery(readings, at, why)
    dear = bool(readings.metered) and at.metered_rule is not MeteredRule.ALL
    if dear:
        why.append("the link is metered: no shards come")
    return Allowed(
        memory_bytes=memory_bytes,
        disk_bytes=disk_bytes,
        max_level=BASE_ONLY if critical else 0,
        lift=not (short or hot or low),
        fetch=not (hot or low or dear or disk_bytes <= 0),
        why=tuple(why),
    )


def _memory(readings: Readings, at: Thresholds, why: list[str]) -> int:
    limit_bytes = available_bytes = UNLIMITED_BYTES
    if readings.memory_limit_bytes is not None:
        limit_bytes = max(0, readings.memory_limit_bytes - at.reserve_bytes)
    if readings.memory_available_bytes is not None:
        had_bytes = readings.memory_available_bytes + (readings.weights_bytes or 0)
        available_bytes = max(0, int((had_bytes - at.spare_bytes) * (1 - at.margin)))
    if available_bytes < limit_bytes:
        why.append(f"{format_bytes(available_bytes)} of memory are available to weights")
    elif not limit_bytes:
        why.append(f"the reserve of {format_bytes(at.reserve_bytes)} takes the whole memory limit")
    return min(limit_bytes, available_bytes)


def _pressure(readings: Readings, at: Thresholds, why: list[str]) -> int:
    """How short memory is: not, short, very short."""
    some, full = readings.pressure_some_percent, readings.pressure_full_percent
    if full is not None and full >= at.pressure_full_percent:
        why.append(f"all tasks wait for memory {full:.0f} % of the time")
        return 2
    if some is not None and some >= at.pressure_some_percent:
        why.append(f"tasks wait for memory {some:.0f} % of the time")
        return 1
    return 0


def _disk(readings: Readings, at: Thresholds, why: list[str]) -> int:
    if readings.disk_free_bytes is None:
        return UNLIMITED_BYTES
    left_bytes = readings.disk_free_bytes - at.disk_reserve_bytes
    if left_bytes <= 0:
        why.append(f"{format_bytes(readings.disk_free_bytes)} are free on the disk: no shards come")
    return left_bytes


def _hot(readings: Readings, at: Thresholds, why: list[str]) -> bool:
    if readings.throttled:
        why.append("the processor is slowed down for heat: nothing goes up")
        return True
    if readings.cpu_celsius is not None and readings.cpu_celsius >= at.hot_celsius:
        why.append(f"the processor is at {readings.cpu_celsius:.0f} °C: nothing goes up")
        return True
    return False


def _battery(readings: Readings, at: Thresholds, why: list[str]) -> tuple[bool, bool]:
    """Whether charge is low, and whether it is critical."""
    charge = readings.battery_fraction
    if charge is None or readings.on_mains:
        return False, False
    critical, low = charge < at.battery_critical, charge < at.battery_low
    if critical:
        why.append(f"the battery is at {charge:.0%}: base")
    elif low:
        why.append(f"the battery is at {charge:.0%}: nothing goes up")
    return low or critical, critical
