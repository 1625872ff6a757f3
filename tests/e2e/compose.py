"""Docker Compose as the tests use it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
AGENTS = ("agent-small", "agent-medium", "agent-large")


@dataclass(frozen=True)
class Compose:
    """One running project."""

    project: str
    environment: dict[str, str]

    def run(self, *arguments: str, timeout_seconds: float = 120) -> str:
        """The output of `docker compose ARGUMENTS`; AssertionError with its messages when it fails."""
        done = subprocess.run(
            ["docker", "compose", "-p", self.project, *arguments],
            cwd=ROOT,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )
        assert done.returncode == 0, f"docker compose {arguments}: {done.stderr[-4000:]}"
        return done.stdout

    def address(self, service: str, port: int) -> str:
        """Where a published port is reached from here."""
        return self.run("port", service, str(port)).strip()

    def agent_get(self, agent: str, path: str) -> Any:
        """JSON from an agent's HTTP endpoint."""
        url = f"http://{self.address(agent, 8080)}{path}"
        with urllib.request.urlopen(url, timeout=10) as response:
            return json.load(response)

    def agent_post(self, agent: str, path: str, body: object) -> Any:
        """JSON answered to a JSON body."""
        request = urllib.request.Request(
            f"http://{self.address(agent, 8080)}{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
            return json.load(response)

    def nestfleet(self, *arguments: str) -> Any:
        """What `nestfleet ARGUMENTS --json` prints, run on the host as an operator does."""
        done = subprocess.run(
            [sys.executable, "-m", "server.cli.main", *arguments, "--json"],
            cwd=ROOT,
            env={**os.environ, "NESTFLEET_SERVER": self.address("server", 50051)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"nestfleet {arguments}: {done.stderr[-4000:]}"
        return json.loads(done.stdout)
