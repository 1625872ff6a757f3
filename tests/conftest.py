"""Settings of every test run, and the stores that many tests share: S3-compatible, PostgreSQL."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.support import moto, postgres

# The same examples in every run, so that a failure is never luck; HYPOTHESIS_PROFILE=explore seeks new ones.
# No deadline for an example: how fast a shared machine is, is no property of the code.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """Where a process of moto's server answers while the tests run."""
    with moto.running() as endpoint:
        yield endpoint


@pytest.fixture
def s3_url(moto_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty place in an S3-compatible store; the environment has what opens it."""
    for name, value in moto.CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    return moto.make_bucket(moto_endpoint, f"nestfleet-test-{next(_NUMBERS)}", "some/blobs")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The conninfo of a PostgreSQL server that is there while the tests run."""
    reason = postgres.unavailable_because()
    if reason:
        pytest.skip(reason)
    with postgres.running() as conninfo:
        yield conninfo
