"""A day of a camera on a pole, made up: a solar panel, a battery, other programs. Pure, by seed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import numpy as np

from device_agent.replay.trace import Look
from device_agent.sensors.readings import Readings

STEP_SECONDS: Final = 10
_DAY_SECONDS: Final = 86_400
_MIB: Final = 1024 * 1024
_LIMIT_BYTES: Final = 512 * _MIB
_BATTERY_WATT_HOURS: Final = 20.0
_PANEL_WATTS: Final = 12.0
_IDLE_WATTS: Final = 1.6
_BUSY_WATTS: Final = 2.6
_DAWN: Final = 6.5
_DUSK: Final = 18.5
_FIRST_CHARGE: Final = 0.30
_DISK_BYTES: Final = 900 * _MIB


def solar_day(seed: int = 0) -> Iterator[Look]:
    """A look every ten seconds, from midnight to midnight.

    The night takes the battery below 20 and 10 %, the sun with its clouds brings it back and heats the box;
    between 10 and 16 o'clock recordings take memory in bursts; the link is metered until 8 and from 20 on.
    """
    rng = np.random.default_rng(seed)
    charge, cloud, others_bytes, celsius, some = _FIRST_CHARGE, 0.3, 90.0 * _MIB, 30.0, 0.0
    burst_until, burst_bytes = -1.0, 0.0
    for second in range(0, _DAY_SECONDS, STEP_SECONDS):
        hour = second / 3600
        sun = max(0.0, math.sin(math.pi * (hour - _DAWN) / (_DUSK - _DAWN))) if _DAWN < hour < _DUSK else 0.0
        cloud = float(np.clip(cloud + rng.normal(0, 0.02) - 0.01 * (cloud - 0.3), 0, 0.95))
        if 10 <= hour < 16 and second > burst_until and rng.random() < 0.004:  # noqa: PLR2004 - o'clock
            burst_until = second + float(rng.uniform(60, 900))
            burst_bytes = float(rng.uniform(220, 350)) * _MIB
        bursting = second <= burst_until
        watts = (_BUSY_WATTS if bursting else _IDLE_WATTS) - sun * (1 - cloud) * _PANEL_WATTS
        charge = float(np.clip(charge - watts * STEP_SECONDS / 3600 / _BATTERY_WATT_HOURS, 0.02, 1.0))
        aim_bytes = burst_bytes if bursting else 90 * _MIB
        others_bytes += 0.3 * (aim_bytes - others_bytes) + float(rng.normal(0, 3 * _MIB))
        others_bytes = float(np.clip(others_bytes, 40 * _MIB, 420 * _MIB))
        celsius += 0.02 * (22 + 34 * sun * (1 - cloud) + (26 if bursting else 8) - celsius)
        some = 0.7 * some + 0.3 * (float(rng.exponential(12)) if bursting else 0.0)
        yield Look(
            float(second),
            Readings(
                memory_limit_bytes=_LIMIT_BYTES,
                memory_available_bytes=round(_LIMIT_BYTES - 60 * _MIB - others_bytes),
                weights_bytes=0,
                pressure_some_percent=round(min(some, 100.0), 2),
                pressure_full_percent=round(min(some / 4, 100.0), 2),
                disk_free_bytes=_DISK_BYTES,
                cpu_celsius=round(celsius + float(rng.normal(0, 0.4)), 1),
                throttled=celsius > 82,  # noqa: PLR2004 - degrees
                battery_fraction=round(float(np.clip(charge + rng.normal(0, 0.004), 0, 1)), 3),
                on_mains=False,
                metered=not 8 <= hour < 20,  # noqa: PLR2004 - o'clock
            ),
        )
