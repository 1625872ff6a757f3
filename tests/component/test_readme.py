"""Every command of the README runs: here, in .ci/run, or in the compose tests."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import wait_until

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "README.md").read_text(), flags=re.MULTILINE | re.DOTALL)
MAKE, PROCESSES, PUSH, ASK, LIMIT, LINK, CALIBRATE, REPLAY, COMPOSE = BLOCKS


def test_make_targets_of_the_readme_run_in_ci() -> None:
    ci = (ROOT / ".ci" / "run").read_text()
    for line in MAKE.splitlines():
        assert line in ci


def test_compose_commands_of_the_readme_run_in_e2e() -> None:
    driver = (ROOT / "tests" / "e2e" / "conftest.py").read_text()
    for word in ("up", "--build", "--detach", "--wait", "down", "--volumes"):
        assert word in COMPOSE
        assert f'"{word}"' in driver


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The README's defaults, on ports that are free."""
    return {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "NESTFLEET_SERVER_LISTEN": "127.0.0.1:0",
        "NESTFLEET_SERVER_BROKER_LISTEN": "127.0.0.1:0",
        "NESTFLEET_SERVER_READY_FILE": str(tmp_path / "server.json"),
        "NESTFLEET_AGENT_HTTP_LISTEN": "127.0.0.1:0",
        "NESTFLEET_AGENT_GRPC_LISTEN": "127.0.0.1:0",
        "NESTFLEET_AGENT_READY_FILE": str(tmp_path / "agent.json"),
    }


def test_a_day_can_be_played(tmp_path: Path, environment: dict[str, str]) -> None:
    assert "over budget 0 s" in shell(REPLAY, tmp_path, environment)
    assert (tmp_path / "day.png").stat().st_size > 0


def test_the_quick_start_works_as_written(tmp_path: Path, environment: dict[str, str]) -> None:
    server, agent = PROCESSES.splitlines()
    with ExitStack() as stack:
        stack.enter_context(running(server, tmp_path, environment))
        environment["NESTFLEET_SERVER"] = announced(tmp_path / "server.json")["grpc"]
        environment["NESTFLEET_AGENT_SERVER"] = environment["NESTFLEET_SERVER"]
        stack.enter_context(running(agent, tmp_path, environment))
        url = announced(tmp_path / "agent.json")["http"]
        wait_until(
            lambda: "camera-1" in shell("nestfleet devices", tmp_path, environment), "the agent enrols"
        )

        told = shell(PUSH, tmp_path, environment)
        assert "digits:1" in told
        assert (tmp_path / "savings.png").stat().st_size > 0
        wait_until(lambda: level(tmp_path, environment) == 8, "the agent at full-bit")

        asked = shell(ASK.replace("http://127.0.0.1:8080", url), tmp_path, environment)
        assert json.loads(asked)["name"] == "digits"

        cut, restore = LIMIT.splitlines()
        shell(cut, tmp_path, environment)
        wait_until(lambda: level(tmp_path, environment) == 4, "the agent at its base")
        shell(restore, tmp_path, environment)
        wait_until(lambda: level(tmp_path, environment) == 8, "the agent at full-bit again")

        assert "256.0 KiB/s" in shell(LINK, tmp_path, environment)

        assert "worth serving from" in shell(CALIBRATE, tmp_path, environment)
        assert (tmp_path / "fidelity.png").stat().st_size > 0


def level(folder: Path, environment: dict[str, str]) -> int:
    devices = json.loads(shell("nestfleet devices --json", folder, environment))["devices"]
    return int(devices[0]["state"]["level"])


def shell(script: str, folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@contextmanager
def running(command: str, folder: Path, environment: dict[str, str]) -> Iterator[None]:
    with (folder / f"{shlex.split(command)[0]}.log").open("wb") as log:
        process = subprocess.Popen(
            shlex.split(command), cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=20)


def announced(file: Path) -> dict[str, str]:
    wait_until(file.exists, f"{file.name} is announced")
    addresses: dict[str, str] = json.loads(file.read_text())
    return addresses
