"""Runs all ways in turns, so that what else the machine does strikes all of them alike."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.delivery.row import Row
from benchmarks.delivery.scale import Scale
from benchmarks.delivery.site import until
from benchmarks.delivery.stream import clients
from benchmarks.delivery.stream.files import Files, make
from benchmarks.delivery.stream.nginx import Nginx, cpu_seconds, nginx
from benchmarks.demo.processes import Children


@dataclass(frozen=True, slots=True)
class Way:
    """How files may come.

    Attributes:
        name: For people.
        pid: Of the server.
        fetch: One device's fetch; gives the bytes that came.
    """

    name: str
    pid: int
    fetch: Callable[[], Awaitable[int]]


@dataclass(frozen=True, slots=True)
class Run:
    """One measurement.

    Attributes:
        mb_per_s: Of all devices together.
        server_seconds, client_seconds: Processor time per GB.
        slowest_over_median: Of the devices' times.
    """

    mb_per_s: float
    server_seconds: float
    client_seconds: float
    slowest_over_median: float


async def measure(scale: Scale) -> AsyncIterator[Row]:
    """A row for each count of devices."""
    for devices in scale.devices:
        with tempfile.TemporaryDirectory(prefix="nestfleet-bench-") as name, ExitStack() as stack:
            folder = Path(name)
            files = make(folder / "data", scale.stream_bytes // devices)
            children = stack.enter_context(Children(folder))
            ready_file = folder / "ready.json"
            command = ["benchmarks.delivery.stream.serving", str(files.data_dir), str(ready_file)]
            child = children.start("serving", command, {}, ready_file)
            await until(child.is_ready, "the files are served", child)
            other = stack.enter_context(nginx(folder, files.root))
            ways = _ways(files, child.addresses(), child.process.pid, other)
            yield await _row(devices, files, ways, scale.runs)


def _ways(files: Files, addresses: dict[str, str], pid: int, other: Nginx | None) -> list[Way]:
    product, bare = addresses["product"], addresses["bare"]
    ways = [
        Way("product", pid, lambda: clients.by_product(product, files.digests)),
        Way("bare", pid, lambda: clients.by_bare_grpc(bare, files.names)),
    ]
    if other is not None:
        ways.append(Way("nginx", other.pid, lambda: clients.by_http(other.address, files.names)))
    return ways


async def _row(devices: int, files: Files, ways: list[Way], runs: int) -> Row:
    results: dict[str, list[Run]] = {way.name: [] for way in ways}
    for number in range(runs + 1):
        for way in ways[number % len(ways) :] + ways[: number % len(ways)]:
            run = await _run(way, devices, files.size_bytes)
            if number:  # the first warms everything up
                results[way.name].append(run)
    product, bare, other = results["product"], results["bare"], results.get("nginx")
    return Row(
        scenario="stream",
        devices=devices,
        mb_per_s=_rate(product),
        bare_grpc_mb_per_s=_rate(bare),
        nginx_mb_per_s=_rate(other) if other else None,
        server_cpu_seconds_per_gb=median(run.server_seconds for run in product),
        client_cpu_seconds_per_gb=median(run.client_seconds for run in product),
        bare_grpc_server_cpu_seconds_per_gb=median(run.server_seconds for run in bare),
        bare_grpc_client_cpu_seconds_per_gb=median(run.client_seconds for run in bare),
        nginx_server_cpu_seconds_per_gb=median(run.server_seconds for run in other) if other else None,
        slowest_over_median=median(run.slowest_over_median for run in product),
        link_mbit_per_s=0,
    )


async def _run(way: Way, devices: int, size_bytes: int) -> Run:
    server_before, client_before = cpu_seconds(way.pid), time.process_time()
    began = time.perf_counter()

    async def device() -> float:
        received = await way.fetch()
        if received != size_bytes:
            raise AssertionError(f"{way.name}: {received} bytes came, not {size_bytes}")
        return time.perf_counter() - began

    times = await asyncio.gather(*(device() for _ in range(devices)))
    gigabytes = devices * size_bytes / 1e9
    return Run(
        mb_per_s=gigabytes * 1e3 / max(times),
        server_seconds=(cpu_seconds(way.pid) - server_before) / gigabytes,
        client_seconds=(time.process_time() - client_before) / gigabytes,
        slowest_over_median=max(times) / median(times),
    )


def _rate(runs: list[Run]) -> float:
    return median(run.mb_per_s for run in runs)
