"""All that somebody may set about an agent, and what holds where nobody does."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from common.transfer_limits import MeteredRule
from device_agent.inference.integer.rules import TOLERANCE, Mode
from device_agent.update.metered import Metered

_MIB: Final = 1024 * 1024


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
        kernels: Which layers run on integer kernels: "auto" those that are faster so, as measured once;
            "fast" all that can; "exact" too, with the offsets of convolutions apart; "float" none.
        engine: The library of kernels: "auto" for the best that is here, or a name; "none" for floats alone.
        kernel_tolerance: A version whose kernels are further from floats than this, as a part of the answer's
            norm, runs in floats.
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
    kernels: Mode = "auto"
    engine: str = "auto"
    kernel_tolerance: float = TOLERANCE
    signed_urls: bool = True
    ready_file: Path | None = None
    heartbeat_seconds: float = 30.0
    log_level: str = "info"


NAMES: Final = tuple(field.name for field in fields(Settings))
