"""How a device may use its link: limits as a value, checked and merged, and as a message. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from nestfleet.v1 import control_pb2

from common.errors import ConfigError, InvalidInputError
from common.quiet_hours import parse_quiet_hours

# Slower, and a chunk takes longer than any stream lives.
MIN_BANDWIDTH_BYTES_PER_SECOND: Final = 1024
MAX_BYTES: Final = 1 << 62


class MeteredRule(StrEnum):
    """What may come over a metered link, as ``MeteredRule`` in control.proto says."""

    ALL = "all"
    BASE_ONLY = "base_only"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class TransferLimits:
    """Limits of bulk transfers; in each, 0, None or "" says nothing.

    Attributes:
        bandwidth_bytes_per_second: Highest rate of downloads.
        monthly_bytes: Bytes of all kinds in a calendar month, UTC.
        metered: What may come over a metered link.
        quiet_hours: "HH:MM-HH:MM", UTC.
    """

    bandwidth_bytes_per_second: int = 0
    monthly_bytes: int = 0
    metered: MeteredRule | None = None
    quiet_hours: str = ""


NO_LIMITS: Final = TransferLimits()
_TO_WIRE: Final[Mapping[MeteredRule | None, control_pb2.MeteredRule.ValueType]] = {
    None: control_pb2.METERED_RULE_UNSPECIFIED,
    MeteredRule.ALL: control_pb2.METERED_RULE_ALL,
    MeteredRule.BASE_ONLY: control_pb2.METERED_RULE_BASE_ONLY,
    MeteredRule.NOTHING: control_pb2.METERED_RULE_NOTHING,
}
_FROM_WIRE: Final = {number: rule for rule, number in _TO_WIRE.items()}


def merged(own: TransferLimits, operator: TransferLimits) -> TransferLimits:
    """What holds: in each limit the operator's word, where there is one, else the device's own."""
    return TransferLimits(
        bandwidth_bytes_per_second=operator.bandwidth_bytes_per_second or own.bandwidth_bytes_per_second,
        monthly_bytes=operator.monthly_bytes or own.monthly_bytes,
        metered=operator.metered or own.metered,
        quiet_hours=operator.quiet_hours or own.quiet_hours,
    )


def check_transfer_limits(limits: TransferLimits) -> TransferLimits:
    """The limits, when an operator may set them.

    Raises:
        InvalidInputError: One is absurd; names it.
    """
    rate = limits.bandwidth_bytes_per_second
    if rate and not MIN_BANDWIDTH_BYTES_PER_SECOND <= rate <= MAX_BYTES:
        raise InvalidInputError(
            f"A bandwidth of {rate} bytes per second is not possible.",
            advice=f"Take at least {MIN_BANDWIDTH_BYTES_PER_SECOND}, or 0 for the device's own setting.",
        )
    if not 0 <= limits.monthly_bytes <= MAX_BYTES:
        raise InvalidInputError(f"{limits.monthly_bytes} bytes are no monthly budget.")
    if limits.quiet_hours:
        parse_quiet_hours(limits.quiet_hours)
    return limits


def parse_metered_rule(text: str) -> MeteredRule:
    """The rule that a word stands for; "base-only" is one word with "base_only".

    Raises:
        ConfigError: It is none.
    """
    try:
        return MeteredRule(text.replace("-", "_"))
    except ValueError as error:
        raise ConfigError(
            f"{text[:40]!r} is no rule for a metered link.", advice="Take all, base-only or nothing."
        ) from error


def read_transfer_limits(message: control_pb2.TransferLimits) -> TransferLimits:
    """What a message says.

    Raises:
        InvalidInputError: A limit is absurd, or of a release that is newer than this one.
    """
    if message.metered not in _FROM_WIRE:
        raise InvalidInputError(f"This release knows no rule {message.metered} for metered links.")
    return check_transfer_limits(
        TransferLimits(
            bandwidth_bytes_per_second=message.bandwidth_bytes_per_second,
            monthly_bytes=message.monthly_bytes,
            metered=_FROM_WIRE[message.metered],
            quiet_hours=message.quiet_hours,
        )
    )


def transfer_limits_message(limits: TransferLimits) -> control_pb2.TransferLimits:
    """The message that says it."""
    return control_pb2.TransferLimits(
        bandwidth_bytes_per_second=limits.bandwidth_bytes_per_second,
        monthly_bytes=limits.monthly_bytes,
        metered=_TO_WIRE[limits.metered],
        quiet_hours=limits.quiet_hours,
    )
