"""Workers to hold against their contract: threads, and processes of a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from server.quantize.workers import LocalWorkers, Workers
from server.quantize.workers.dask_cluster import DaskWorkers
from tests.support.cluster import address_of, running_cluster

WORKERS = 2


@pytest.fixture(scope="session")
def cluster_address() -> Iterator[str]:
    with running_cluster(WORKERS) as cluster:
        yield address_of(cluster)


@pytest.fixture(params=["local", "dask"])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    """Two workers."""
    made: Workers = (
        LocalWorkers(WORKERS)
        if request.param == "local"
        else DaskWorkers(request.getfixturevalue("cluster_address"))
    )
    with contextlib.closing(made):
        yield made


@pytest.fixture
def dask_workers(cluster_address: str) -> Iterator[DaskWorkers]:
    with contextlib.closing(DaskWorkers(cluster_address)) as made:
        yield made
