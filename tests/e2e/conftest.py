"""The compose fleet, under a project name of its own, gone afterwards."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from server.client.fleet import FleetClient
from tests.e2e.compose import ROOT, Compose

DOWNLOAD_BYTES_PER_SECOND = 1536 * 1024
UP_SECONDS = 900


@pytest.fixture(scope="session")
def compose() -> Iterator[Compose]:
    """Every service healthy; agents' downloads slow enough to be caught in the middle."""
    fleet = Compose(
        f"nestfleet-e2e-{secrets.token_hex(3)}",
        {
            "NESTFLEET_PORT": "0",
            "NESTFLEET_DOWNLOAD_LIMIT_BYTES_PER_SECOND": str(DOWNLOAD_BYTES_PER_SECOND),
            "PIP_EXTRA_INDEX_URL": os.environ.get("PIP_EXTRA_INDEX_URL", ""),
        },
    )
    try:
        fleet.run("up", "--detach", "--build", "--wait", timeout_seconds=UP_SECONDS)
        yield fleet
    finally:
        _keep_logs(fleet)
        fleet.run("down", "--volumes", "--timeout", "5")


@pytest.fixture
def operator(compose: Compose) -> Iterator[FleetClient]:
    """The operator's view; a new connection for each test, since the server restarts."""
    with FleetClient(compose.address("server", 50051)) as client:
        yield client


def _keep_logs(fleet: Compose) -> None:
    target = Path(ROOT, "build", "e2e", "compose.log")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        command = ["docker", "compose", "-p", fleet.project, "logs", "--no-color", "--timestamps"]
        subprocess.run(command, cwd=ROOT, stdout=file, stderr=subprocess.STDOUT, check=False, timeout=60)
