"""Every setting: how the command line shows it, and how its value is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from device_agent.inference.integer.rules import ENGINES, MODES
from device_agent.settings import amounts, words

_LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Known:
    """One setting.

    Attributes:
        metavar: What stands for its value.
        meaning: For people.
        read: The value of what somebody wrote; raises ConfigError.
    """

    metavar: str
    meaning: str
    read: Callable[[object], Any]


KNOWN: Final[Mapping[str, Known]] = {
    "device_id": Known(
        "ID", "under which the device enrols; a new store takes a random one", words.device_id
    ),
    "server": Known("HOST:PORT", "of the server", words.address),
    "store_dir": Known("FOLDER", "for blobs, ledger and record", words.path),
    "http_listen": Known(
        "HOST:PORT", "of the inference endpoint; port 0: the system's choice", words.address
    ),
    "grpc_listen": Known("HOST:PORT", "of the same over gRPC; off for none", words.address_or_off),
    "queue_length": Known(
        "COUNT", "requests that may wait for one model; more are refused", amounts.count_above_zero
    ),
    "queue_seconds": Known(
        "SECONDS", "a request that has waited so long for its turn is refused", amounts.seconds
    ),
    "batch_rows": Known(
        "COUNT",
        "rows of several requests that run together at most; 1 runs each by itself",
        amounts.count_above_zero,
    ),
    "batch_window_ms": Known("MS", "how long a request waits for others to run with", amounts.window_ms),
    "request_memory_bytes": Known(
        "SIZE", "memory that requests may take while they are read and wait", amounts.request_memory
    ),
    "memory_budget_bytes": Known(
        "SIZE", "memory for weights, e.g. 12MiB; else what the board has, less the reserve", amounts.size
    ),
    "reserve_bytes": Known("SIZE", "memory for everything but weights", amounts.size),
    "budget_file": Known(
        "FILE", "holds a budget that may change at run time; SIGHUP reads it at once", words.path
    ),
    "broker_url": Known("URL", "mqtt:// or mqtts://, where the server's word does not do", words.broker_url),
    "download_limit_bytes_per_second": Known(
        "SIZE", "bandwidth that downloads may take; else no limit", amounts.size
    ),
    "monthly_budget_bytes": Known(
        "SIZE", "bytes of all kinds in a calendar month, UTC, e.g. 500MiB; else no budget", amounts.size
    ),
    "metered": Known(
        "ANSWER", "whether the link is metered: yes, no, or auto, which asks the file", words.metered
    ),
    "metered_file": Known(
        "FILE", "says yes or no, and may change at run time; SIGHUP reads it at once", words.path
    ),
    "metered_rule": Known(
        "RULE", "what may come over a metered link: all, base-only or nothing", words.metered_rule
    ),
    "quiet_hours": Known(
        "HH:MM-HH:MM", "UTC; no bulk transfers in this time, e.g. 22:00-06:00", words.quiet_hours
    ),
    "disk_reserve_bytes": Known("SIZE", "room on the disk that stays free", amounts.size),
    "disk_budget_bytes": Known(
        "SIZE", "what the store may take on the disk; else all but the reserve", amounts.size
    ),
    "spare_memory_bytes": Known("SIZE", "available memory that stays available to others", amounts.size),
    "pressure_some_percent": Known(
        "PERCENT", "memory is short where some task waits for it so much of the time", amounts.percent
    ),
    "pressure_full_percent": Known("PERCENT", "memory is very short where all tasks do", amounts.percent),
    "pressure_shrink_percent": Known(
        "PERCENT",
        "share of the memory budget that goes while memory is short; twice that while very short",
        amounts.percent,
    ),
    "hot_celsius": Known(
        "DEGREES", "from here on the processor is hot, and nothing goes up", amounts.celsius
    ),
    "battery_low_percent": Known(
        "PERCENT", "below, without mains, nothing goes up and no shards come", amounts.percent
    ),
    "battery_critical_percent": Known(
        "PERCENT", "below, without mains, everything goes to its base", amounts.percent
    ),
    "margin_percent": Known(
        "PERCENT", "share of the available memory left alone where the budget grows", amounts.percent
    ),
    "grow_seconds": Known("SECONDS", "so long must the board allow more before it is taken", amounts.seconds),
    "switches_per_hour": Known("COUNT", "most switches of levels in any 60 minutes; even", amounts.switches),
    "threads": Known("COUNT", "threads of one inference; else one per core", amounts.count),
    "kernels": Known(
        "CHOICE",
        "which layers run on integer kernels: auto (the faster), fast, exact or float",
        words.one_of(MODES, "way to use kernels"),
    ),
    "engine": Known(
        "NAME",
        "library of integer kernels: auto, onednn, qnnpack, fbgemm or none",
        words.one_of(ENGINES, "library of kernels"),
    ),
    "kernel_tolerance": Known(
        "PART", "a version whose kernels are further from floats runs in floats", amounts.part
    ),
    "signed_urls": Known(
        "yes|no", "blobs straight from the object store, where the server offers that", words.yes_or_no
    ),
    "ready_file": Known(
        "FILE", "written once the endpoint answers: JSON with its URL and the device id", words.path
    ),
    "heartbeat_seconds": Known("SECONDS", "the state is reported at least so often", amounts.seconds),
    "log_level": Known("LEVEL", "debug, info, warning or error", words.one_of(_LOG_LEVELS, "log level")),
}
