"""Pushes, assignments, fetches and reports at once, from two servers: nobody sees the others' locks."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest

from common.digest import sha256_hex
from common.manifest import from_json, to_json
from server.registry.records import NewVersion, ReachedRecord, TransferRecord
from server.registry.repository import Registry
from tests.support import postgres
from tests.support.factories import blob_ref, make_version, manifest, sizes

MODELS = ("digits", "speech", "vision")
DEVICES = tuple(f"board-{number}" for number in range(6))
PUSHES = 12  # of each model
ROUNDS = 12  # of each kind of other work
THREADS = 40


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/registry.sqlite"
        return
    conninfo = request.getfixturevalue("postgres_server")
    with postgres.database(conninfo, "nestfleet_concurrency") as database:
        yield database


@pytest.fixture
def servers(url: str) -> Iterator[list[Registry]]:
    """Two servers' registries on one database; every model has a version, every device is enrolled."""
    opened = [Registry.open(url) for _ in range(2)]
    for model in MODELS:
        opened[0].add_version(model, make_version(model))
    for device_id in DEVICES:
        opened[0].enrol(device_id, "key", "1", "linux", 1)
    yield opened
    for registry in opened:
        registry.close()


def named(model: str, number: int) -> NewVersion:
    contents = tuple(f"{model} {number} {part}" for part in ("base", "six", "eight"))
    return NewVersion(manifest(model, number, contents=contents), sizes())


def works(servers: list[Registry]) -> list[Callable[[], object]]:
    """Everything that a busy fleet does, shuffled."""
    a, b = servers
    todo: list[Callable[[], object]] = []
    for model in MODELS:
        first = a.get_version(model, 1).manifest_digest
        todo += [
            lambda model=model, at=at: at.add_version(model, lambda number: named(model, number))  # type: ignore[misc]
            for at in servers
            for _ in range(PUSHES // 2)
        ]
        for turn in range(ROUNDS):
            device_id = DEVICES[turn % len(DEVICES)]
            todo += [
                lambda model=model, turn=turn: a.assign(None, model, now_ms=turn),  # type: ignore[misc]
                lambda model=model, turn=turn: b.assign(DEVICES[::-1], model, max_level=4, now_ms=turn),  # type: ignore[misc]
                lambda first=first: b.get_manifest(first),  # type: ignore[misc]
                lambda: a.named_among([blob_ref(text).digest for text in ("base", "unknown")]),
                lambda device_id=device_id, model=model, turn=turn: a.record_ledger(  # type: ignore[misc]
                    device_id,
                    "ledger",
                    [TransferRecord(model, 1, kind, 4, turn, turn) for kind in ("base", "shard")],
                    [ReachedRecord(model, 1, level) for level in (4, 6, 8)],
                    turn,
                ),
                lambda device_id=device_id, model=model, turn=turn: b.record_state(  # type: ignore[misc]
                    device_id, f"state {turn}".encode(), (model, 1), turn
                ),
                lambda device_id=device_id, turn=turn: b.record_presence(  # type: ignore[misc]
                    device_id, f"session {turn}", online=True, now_ms=turn
                ),
                lambda device_id=device_id, turn=turn: a.set_limits(device_id, turn),  # type: ignore[misc]
                lambda device_id=device_id: b.enrol(device_id, "key", "2", "linux", 2),  # type: ignore[misc]
                b.list_devices,
            ]
    random.Random(5).shuffle(todo)  # noqa: S311  repeatable
    return todo


def deadlocks(url: str) -> int:
    """How many PostgreSQL has broken; each costs the one that it turned away a second, and then a retry."""
    with connected(url) as connection:
        query = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        return int(connection.execute(query).fetchone()[0])  # type: ignore[index]


def connected(url: str) -> psycopg.Connection[tuple[Any, ...]]:
    return psycopg.connect(url.replace("postgresql+psycopg://", "postgresql://"), autocommit=True)


def test_a_busy_fleet_loses_nothing_and_nobody_is_turned_away(servers: list[Registry], url: str) -> None:
    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(work) for work in works(servers)]:
            done.result()
    for model in MODELS:
        records = [record for record in servers[1].list_versions() if record.model == model]
        assert [record.version for record in records] == list(range(PUSHES + 1, 0, -1))
        for record in records[:-1]:
            data = servers[0].get_manifest(record.manifest_digest)
            assert sha256_hex(data) == record.manifest_digest
            assert data == to_json(named(model, record.version).manifest)
            digests = [ref.digest for ref in from_json(data).blob_refs()]
            assert servers[0].named_among(digests) == set(digests)
    for device in servers[0].list_devices():
        # Each assignment and each limit has counted, and none twice.
        assert device.assignment_generation == 2 * ROUNDS * len(MODELS)
        turns = [turn for turn in range(ROUNDS) if DEVICES[turn % len(DEVICES)] == device.device_id]
        assert device.limits_generation == len(turns) * len(MODELS)
        for model in MODELS:
            counted = [item for item in servers[1].transfers(model) if item.device_id == device.device_id]
            assert {(item.kind, item.payload_bytes) for item in counted} == {
                (kind, turns[-1]) for kind in ("base", "shard")
            }
    for registry in servers:
        registry.close()  # a connection tells the statistics at its end
    if url.startswith("postgresql"):
        assert deadlocks(url) == 0


def test_a_server_keeps_to_its_connections_however_many_ask(postgres_server: str) -> None:
    with postgres.database(postgres_server, "nestfleet_pool") as url:
        registry = Registry.open(url)
        registry.add_version("digits", make_version("digits"))
        digest = registry.get_version("digits").manifest_digest
        most, over = 0, threading.Event()

        def watch() -> None:
            nonlocal most
            with connected(url) as connection:
                while not over.is_set():
                    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    found = int(connection.execute(query).fetchone()[0])  # type: ignore[index]
                    most = max(most, found - 1)
                    time.sleep(0.005)

        watching = threading.Thread(target=watch)
        watching.start()
        with ThreadPoolExecutor(64) as pool:
            list(pool.map(lambda _: registry.get_manifest(digest), range(2000)))
        over.set()
        watching.join()
        registry.close()
    assert 1 <= most <= 15
