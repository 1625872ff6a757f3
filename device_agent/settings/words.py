"""Readers of settings that are words: names, addresses, paths, choices. What they refuse is a ConfigError."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from common.addresses import parse_broker_url, parse_host_port
from common.errors import ConfigError
from common.names import check_name
from common.quiet_hours import parse_quiet_hours
from common.transfer_limits import MeteredRule, parse_metered_rule
from device_agent.update.metered import Metered


def yes_or_no(value: object) -> bool:
    """True for yes."""
    if isinstance(value, bool):
        return value
    if value not in {"yes", "no"}:
        raise ConfigError(f"{value!r:.80} is neither yes nor no.")
    return value == "yes"


def one_of(choices: Sequence[str], what: str) -> Callable[[object], str]:
    """A reader of a choice.

    Args:
        choices: All there are.
        what: One of them is, for people.
    """

    def read(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise ConfigError(f"{value!r:.80} is no {what}.", advice=f"Take one of {', '.join(choices)}.")
        return value

    return read


def device_id(value: object) -> str:
    """A device's name, or nothing."""
    return check_name(_text(value), what="device") if value else ""


def address(value: object) -> str:
    """``HOST:PORT``."""
    parse_host_port(_text(value))
    return _text(value)


def address_or_off(value: object) -> str:
    """``HOST:PORT``, or "off"."""
    return "off" if value == "off" else address(value)


def broker_url(value: object) -> str:
    """A broker's URL, or nothing."""
    if value:
        parse_broker_url(_text(value))
    return _text(value)


def path(value: object) -> Path:
    """A path, absolute from here."""
    return Path(_text(str(value) if isinstance(value, Path) else value)).expanduser().absolute()


def metered(value: object) -> Metered:
    """Whether the link is metered."""
    return Metered(_metered(value))


def metered_rule(value: object) -> MeteredRule:
    """What may come over a metered link."""
    return parse_metered_rule(_text(value))


def quiet_hours(value: object) -> str:
    """Hours of a day, or nothing."""
    return str(parse_quiet_hours(_text(value))) if value else ""


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{value!r:.80} is no text.")
    return value


_metered = one_of(tuple(Metered), "answer to whether the link is metered")
