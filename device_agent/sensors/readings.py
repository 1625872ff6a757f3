"""What the sensors of a board say at one moment. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Final


@dataclass(frozen=True, slots=True)
class Readings:
    """One look at the board. None: there is no such sensor, or it does not answer; that changes nothing.

    Attributes:
        memory_limit_bytes: The most that this process may take, by the tightest limit above it.
        memory_available_bytes: What it could have beyond what it takes, without anything being swapped out.
        process_bytes: Resident set of this process.
        weights_bytes: What weights take of that.
        pressure_some_percent: Share of the last ten seconds in which some task waited for memory (PSI).
        pressure_full_percent: Share in which all did.
        disk_free_bytes: Room on the store's disk.
        cpu_celsius: The hottest zone of the processor.
        throttled: Whether the processor has been slowed down for heat since the last look.
        battery_fraction: Charge, 0 to 1.
        on_mains: Whether power comes from outside.
        metered: Whether bytes cost money.
    """

    memory_limit_bytes: int | None = None
    memory_available_bytes: int | None = None
    process_bytes: int | None = None
    weights_bytes: int | None = None
    pressure_some_percent: float | None = None
    pressure_full_percent: float | None = None
    disk_free_bytes: int | None = None
    cpu_celsius: float | None = None
    throttled: bool | None = None
    battery_fraction: float | None = None
    on_mains: bool | None = None
    metered: bool | None = None

    def present(self) -> dict[str, int | float | bool]:
        """Name to value, of the sensors that answered."""
        values = ((name, getattr(self, name)) for name in NAMES)
        return {name: value for name, value in values if value is not None}

    def with_others(self, others: Readings) -> Readings:
        """These, and what others say in their place or beside them."""
        values: Mapping[str, int | float | bool] = others.present()
        return replace(self, **values)  # type: ignore[arg-type]


NAMES: Final = tuple(field.name for field in fields(Readings))
NOTHING: Final = Readings()
