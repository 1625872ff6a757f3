from __future__ import annotations

import contextlib

import pytest

from common.errors import ConfigError
from server.quantize.workers import LocalWorkers, make_workers
from server.quantize.workers.choice import check_choice, dask_address
from server.quantize.workers.dask_cluster import DaskWorkers


def test_local_is_this_machine_and_an_url_is_a_cluster_that_is_not_connected_yet() -> None:
    for text, kind in (("local", LocalWorkers), ("dask://scheduler.example:8786", DaskWorkers)):
        with contextlib.closing(make_workers(text)) as workers:
            assert isinstance(workers, kind)


@pytest.mark.parametrize(
    ("text", "address"),
    [("dask://scheduler:8786", "scheduler:8786"), ("dask://[::1]:1/", "[::1]:1"), ("DASK://A:2", "A:2")],
)
def test_an_url_names_the_scheduler(text: str, address: str) -> None:
    assert dask_address(text) == address
    assert check_choice(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Local",
        "dask",
        "dask://",
        "dask://host",
        "dask://host:0",
        "dask://host:99999",
        "dask://:8786",
        "dask://user@host:1",
        "dask://host:1/path",
        "dask://host:1?x=y",
        "dask://[::1:1",
        "tcp://host:1",
        "host:1",
    ],
)
def test_what_names_no_workers_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"names no workers.*dask://HOST:PORT"):
        check_choice(text)
