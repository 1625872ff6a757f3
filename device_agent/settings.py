"""The agent's settings: defaults < TOML file < environment < flags. Nothing else reads the environment."""

from __future__ import annotations

import argparse
import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from common.addresses import parse_broker_url, parse_host_port
from common.byte_sizes import format_bytes, parse_bytes
from common.errors import ConfigError, Error
from common.names import check_name
from common.quiet_hours import parse_quiet_hours
from common.transfer_limits import MeteredRule, parse_metered_rule
from device_agent.update.metered import Metered

ENV_PREFIX: Final = "NESTFLEET_AGENT_"
_MIB: Final = 1024 * 1024
_LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Settings:
    """All that somebody may set. Sizes may be written as "12 MiB". Port 0 lets the system choose.

    Attributes:
        device_id: Under which the device enrols; empty: the store's, for a new store a random one.
        server: ``HOST:PORT`` of the server's gRPC services.
        store_dir: Blobs, ledger and record of this device.
        http_listen: ``HOST:PORT`` of the inference endpoint.
        grpc_listen: ``HOST:PORT`` of the same over gRPC; "off" for none.
        queue_length: Requests that may wait for one model; more are refused.
        queue_seconds: A request that has waited so long for its turn is refused.
        batch_rows: Rows of several requests that run together at most; 1 runs each by itself.
        batch_window_ms: How long a request waits for others to run with; 0 for those that wait already.
        request_memory_bytes: Memory that requests may take while they are read and wait.
        memory_budget_bytes: Memory for weights; 0: what the board has, less ``reserve_bytes``.
        reserve_bytes: Memory for everything but weights.
        budget_file: A file with a budget in it, followed at run time; it overrides ``memory_budget_bytes``.
        broker_url: ``mqtt://`` or ``mqtts://``; empty: what enrolment says.
        download_limit_bytes_per_second: 0 for none.
        monthly_budget_bytes: Bytes of all kinds in a calendar month, UTC; 0 for no budget.
        metered: Whether the link is metered: "yes", "no", or "auto", which leaves it to ``metered_file``.
        metered_file: A file that says "yes" or "no", followed at run time; no file says no.
        metered_rule: What may come over a metered link: "all", "base-only" or "nothing".
        quiet_hours: No bulk transfers from one time of day to another, ``HH:MM-HH:MM`` UTC; empty for none.
        disk_reserve_bytes: Room on the disk that stays free.
        disk_budget_bytes: What the store may take on the disk; 0 for all but the reserve.
        spare_memory_bytes: Available memory that stays available to others.
        pressure_some_percent: Memory is short where some task waits for it so much of the time (PSI, avg10).
        pressure_full_percent: Memory is very short where all tasks do.
        pressure_shrink_percent: Share of the memory budget that goes while memory is short; twice that while
            it is very short.
        hot_celsius: From here on the processor is hot: nothing goes up.
        battery_low_percent: Below, without mains, nothing goes up and no shards come.
        battery_critical_percent: Below, without mains, everything goes to its base.
        margin_percent: Share of the available memory that is left alone where the budget grows.
        grow_seconds: So long must the board allow more before it is taken.
        switches_per_hour: Most switches of levels in any 60 minutes; even.
        threads: Threads of one inference; 0 for as many as there are cores.
        signed_urls: Whether blobs come straight from the object store where the server offers that.
        ready_file: Written once the endpoint answers: JSON with its URL and the device id.
        heartbeat_seconds: The state is reported at least so often.
        log_level: Least level that is logged to stderr.
    """

    device_id: str = ""
    server: str = "127.0.0.1:50051"
    store_dir: Path = Path("nestfleet-store")
    http_listen: str = "127.0.0.1:8080"
    grpc_listen: str = "127.0.0.1:8081"
    queue_length: int = 32
    queue_seconds: float = 30.0
    batch_rows: int = 32
    batch_window_ms: float = 0.0
    request_memory_bytes: int = 128 * _MIB
    memory_budget_bytes: int = 0
    reserve_bytes: int = 384 * _MIB
    budget_file: Path | None = None
    broker_url: str = ""
    download_limit_bytes_per_second: int = 0
    monthly_budget_bytes: int = 0
    metered: Metered = Metered.AUTO
    metered_file: Path | None = None
    metered_rule: MeteredRule = MeteredRule.ALL
    quiet_hours: str = ""
    disk_reserve_bytes: int = 32 * _MIB
    disk_budget_bytes: int = 0
    spare_memory_bytes: int = 32 * _MIB
    pressure_some_percent: float = 10.0
    pressure_full_percent: float = 5.0
    pressure_shrink_percent: float = 25.0
    hot_celsius: float = 80.0
    battery_low_percent: float = 20.0
    battery_critical_percent: float = 10.0
    margin_percent: float = 10.0
    grow_seconds: float = 30.0
    switches_per_hour: int = 12
    threads: int = 0
    signed_urls: bool = True
    ready_file: Path | None = None
    heartbeat_seconds: float = 30.0
    log_level: str = "info"


NAMES: Final = tuple(field.name for field in fields(Settings))


def load_settings(
    environment: Mapping[str, str], flags: Mapping[str, object], file: Path | None = None
) -> Settings:
    """The settings that hold.

    Args:
        environment: Of the process.
        flags: What the command line says; None stands for "not said".
        file: A TOML file whose keys are those of ``Settings``.

    Raises:
        ConfigError: A key is unknown or a value wrong; names the key.
    """
    said = {
        **(_from_file(file) if file else {}),
        **_from_environment(environment),
        **{name: value for name, value in flags.items() if value is not None},
    }
    values: dict[str, Any] = {}
    for name, value in said.items():
        if name not in _READ:
            raise ConfigError(f"There is no setting {name!r}.", advice=f"Known are {', '.join(NAMES)}.")
        try:
            values[name] = _READ[name](value)
        except Error as error:
            raise ConfigError(f"Setting {name!r}: {error.message}", advice=error.advice) from error
    return Settings(**values)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """A flag for every setting."""
    for field in fields(Settings):
        metavar, meaning = _HELP[field.name]
        shown = _shown(field.default, as_size=metavar == "SIZE")
        default = f" (default: {shown})" if field.default not in {"", None, 0} else ""
        parser.add_argument(
            f"--{field.name.replace('_', '-')}", dest=field.name, metavar=metavar, help=meaning + default
        )


def _shown(default: object, *, as_size: bool) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return format_bytes(default) if as_size and isinstance(default, int) else str(default)


def _from_file(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"The settings file {file} cannot be read: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {file} is no TOML: {error}.") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Values by setting; an empty one stands for "not said", as compose files write it."""
    return {
        key.removeprefix(ENV_PREFIX).lower(): value
        for key, value in environment.items()
        if key.startswith(ENV_PREFIX) and value
    }


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{value!r:.80} is no text.")
    return value


def _size(value: object) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    return parse_bytes(_text(value))


def _count(value: object) -> int:
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)
    if not text.isascii() or not text.isdigit() or int(text[:5]) > 1024:  # noqa: PLR2004
        raise ConfigError(f"{text[:80]!r} is no count from 0 to 1024.")
    return int(text)


def _count_above_zero(value: object) -> int:
    count = _count(value)
    if not count:
        raise ConfigError("0 is too few.", advice="Take at least 1.")
    return count


def _request_memory(value: object) -> int:
    size_bytes = _size(value)
    if size_bytes < _MIB:
        raise ConfigError(f"{format_bytes(size_bytes)} is too little.", advice="Take at least 1MiB.")
    return size_bytes


def _yes(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if value not in {"yes", "no"}:
        raise ConfigError(f"{value!r:.80} is neither yes nor no.")
    return value == "yes"


def _window_ms(value: object) -> float:
    window_ms = _number(value)
    if not 0 <= window_ms <= 1000:  # noqa: PLR2004
        raise ConfigError(f"{window_ms:g} ms is not within 0 ms and a second.")
    return window_ms


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float) else float(_text(value))
    except ValueError as error:
        raise ConfigError(f"{value!r:.80} is no number.") from error


def _seconds(value: object) -> float:
    seconds = _number(value)
    if not math.isfinite(seconds) or not 0.1 <= seconds <= 86_400:  # noqa: PLR2004
        raise ConfigError(f"{seconds} s is not within 0.1 s and a day.")
    return seconds


def _percent(value: object) -> float:
    return _within(value, 0.0, 100.0, "%")


def _celsius(value: object) -> float:
    return _within(value, 0.0, 200.0, "°C")


def _within(value: object, low: float, high: float, unit: str) -> float:
    try:
        number = float(value) if isinstance(value, int | float) else float(_text(value))
    except ValueError as error:
        raise ConfigError(f"{value!r:.80} is no number.") from error
    if not low <= number <= high:
        raise ConfigError(f"{number} {unit} is not within {low:g} and {high:g} {unit}.")
    return number


def _switches(value: object) -> int:
    count = _count(value)
    if count < 4 or count % 2:  # noqa: PLR2004
        raise ConfigError(f"{count} switches an hour are no even number from 4 on.")
    return count


def _device_id(value: object) -> str:
    return check_name(_text(value), what="device") if value else ""


def _address(value: object) -> str:
    parse_host_port(_text(value))
    return _text(value)


def _address_or_off(value: object) -> str:
    return "off" if value == "off" else _address(value)


def _broker_url(value: object) -> str:
    if value:
        parse_broker_url(_text(value))
    return _text(value)


def _path(value: object) -> Path:
    return Path(_text(str(value) if isinstance(value, Path) else value)).expanduser().absolute()


def _metered(value: object) -> Metered:
    if value not in tuple(Metered):
        raise ConfigError(
            f"{value!r:.80} does not say whether the link is metered.", advice="Take auto, yes or no."
        )
    return Metered(_text(value))


def _metered_rule(value: object) -> MeteredRule:
    return parse_metered_rule(_text(value))


def _quiet_hours(value: object) -> str:
    return str(parse_quiet_hours(_text(value))) if value else ""


def _log_level(value: object) -> str:
    if value not in _LOG_LEVELS:
        raise ConfigError(f"{value!r:.80} is no log level.", advice=f"Take one of {', '.join(_LOG_LEVELS)}.")
    return _text(value)


_HELP: Final[Mapping[str, tuple[str, str]]] = {
    "device_id": ("ID", "under which the device enrols; a new store takes a random one"),
    "server": ("HOST:PORT", "of the server"),
    "store_dir": ("FOLDER", "for blobs, ledger and record"),
    "http_listen": ("HOST:PORT", "of the inference endpoint; port 0: the system's choice"),
    "grpc_listen": ("HOST:PORT", "of the same over gRPC; off for none"),
    "queue_length": ("COUNT", "requests that may wait for one model; more are refused"),
    "queue_seconds": ("SECONDS", "a request that has waited so long for its turn is refused"),
    "batch_rows": ("COUNT", "rows of several requests that run together at most; 1 runs each by itself"),
    "batch_window_ms": ("MS", "how long a request waits for others to run with"),
    "request_memory_bytes": ("SIZE", "memory that requests may take while they are read and wait"),
    "memory_budget_bytes": (
        "SIZE",
        "memory for weights, e.g. 12MiB; else what the board has, less the reserve",
    ),
    "reserve_bytes": ("SIZE", "memory for everything but weights"),
    "budget_file": ("FILE", "holds a budget that may change at run time; SIGHUP reads it at once"),
    "broker_url": ("URL", "mqtt:// or mqtts://, where the server's word does not do"),
    "download_limit_bytes_per_second": ("SIZE", "bandwidth that downloads may take; else no limit"),
    "monthly_budget_bytes": (
        "SIZE",
        "bytes of all kinds in a calendar month, UTC, e.g. 500MiB; else no budget",
    ),
    "metered": ("ANSWER", "whether the link is metered: yes, no, or auto, which asks the file"),
    "metered_file": ("FILE", "says yes or no, and may change at run time; SIGHUP reads it at once"),
    "metered_rule": ("RULE", "what may come over a metered link: all, base-only or nothing"),
    "quiet_hours": ("HH:MM-HH:MM", "UTC; no bulk transfers in this time, e.g. 22:00-06:00"),
    "disk_reserve_bytes": ("SIZE", "room on the disk that stays free"),
    "disk_budget_bytes": ("SIZE", "what the store may take on the disk; else all but the reserve"),
    "spare_memory_bytes": ("SIZE", "available memory that stays available to others"),
    "pressure_some_percent": ("PERCENT", "memory is short where some task waits for it so much of the time"),
    "pressure_full_percent": ("PERCENT", "memory is very short where all tasks do"),
    "pressure_shrink_percent": (
        "PERCENT",
        "share of the memory budget that goes while memory is short; twice that while very short",
    ),
    "hot_celsius": ("DEGREES", "from here on the processor is hot, and nothing goes up"),
    "battery_low_percent": ("PERCENT", "below, without mains, nothing goes up and no shards come"),
    "battery_critical_percent": ("PERCENT", "below, without mains, everything goes to its base"),
    "margin_percent": ("PERCENT", "share of the available memory left alone where the budget grows"),
    "grow_seconds": ("SECONDS", "so long must the board allow more before it is taken"),
    "switches_per_hour": ("COUNT", "most switches of levels in any 60 minutes; even"),
    "threads": ("COUNT", "threads of one inference; else one per core"),
    "signed_urls": ("yes|no", "blobs straight from the object store, where the server offers that"),
    "ready_file": ("FILE", "written once the endpoint answers: JSON with its URL and the device id"),
    "heartbeat_seconds": ("SECONDS", "the state is reported at least so often"),
    "log_level": ("LEVEL", "debug, info, warning or error"),
}

_READ: Final[Mapping[str, Callable[[object], Any]]] = {
    "device_id": _device_id,
    "server": _address,
    "store_dir": _path,
    "http_listen": _address,
    "grpc_listen": _address_or_off,
    "queue_length": _count_above_zero,
    "queue_seconds": _seconds,
    "batch_rows": _count_above_zero,
    "batch_window_ms": _window_ms,
    "request_memory_bytes": _request_memory,
    "memory_budget_bytes": _size,
    "reserve_bytes": _size,
    "budget_file": _path,
    "broker_url": _broker_url,
    "download_limit_bytes_per_second": _size,
    "monthly_budget_bytes": _size,
    "metered": _metered,
    "metered_file": _path,
    "metered_rule": _metered_rule,
    "quiet_hours": _quiet_hours,
    "disk_reserve_bytes": _size,
    "disk_budget_bytes": _size,
    "spare_memory_bytes": _size,
    "pressure_some_percent": _percent,
    "pressure_full_percent": _percent,
    "pressure_shrink_percent": _percent,
    "hot_celsius": _celsius,
    "battery_low_percent": _percent,
    "battery_critical_percent": _percent,
    "margin_percent": _percent,
    "grow_seconds": _seconds,
    "switches_per_hour": _switches,
    "threads": _count,
    "signed_urls": _yes,
    "ready_file": _path,
    "heartbeat_seconds": _seconds,
    "log_level": _log_level,
}
