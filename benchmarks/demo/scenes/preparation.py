"""Before anything moves: a trained model, a server that holds it, and boards that wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo import digits
from benchmarks.demo.boards import LARGEST, LEVELS, Board, board_of, memory_needed, start_agent
from benchmarks.demo.digits import Split
from benchmarks.demo.display import Display
from benchmarks.demo.failure import DemoFailure
from benchmarks.demo.folders import ACCEPTANCE, RUN
from benchmarks.demo.processes import Child, Children, log_tail
from benchmarks.demo.scoring import accuracy
from benchmarks.demo.training import answer
from benchmarks.demo.weights import VERSIONS, trained
from common.byte_sizes import format_bytes
from common.manifest import Manifest
from server.client.fleet import FleetClient

_START_SECONDS = 60.0
_POLL_SECONDS = 0.05
_SPARE = 1.1  # the largest board has a tenth more than it needs


@dataclass(frozen=True, slots=True)
class Trained:
    """The data, and what each version answers to its held-out part in FP32.

    Attributes:
        split: The data.
        outputs: Version to float32 [samples, classes].
        seconds: That training took; few where the cache had all.
    """

    split: Split
    outputs: dict[int, NDArray[np.float32]]
    seconds: float

    def accuracy(self, version: int) -> float:
        """On the held-out part, in FP32."""
        return accuracy(self.outputs[version], self.split.held_out.labels)


def train_versions(display: Display) -> Trained:
    """Train what the cache lacks."""
    display.scene("A ResNet-18 learns handwritten digits")
    start = time.monotonic()
    split = digits.load()
    display.say(f"{len(split.first)} images of 8x8 to learn from; {len(split.held_out)} more stay unseen.")
    np.savez(ACCEPTANCE, labels=split.acceptance.labels, input=split.acceptance.images)
    outputs = {
        version: answer(trained(version, split, display.training), split.held_out) for version in VERSIONS
    }
    done = Trained(split, outputs, time.monotonic() - start)
    display.result(f"version 1 gets {done.accuracy(1):.2%} of the unseen images right, in 32-bit floats")
    return done


def start_server(children: Children) -> str:
    """The address of a server that serves."""
    ready_file = RUN / "server.ready.json"
    settings = {
        "DATA_DIR": str(RUN / "server"),
        "LISTEN": "127.0.0.1:0",
        "BROKER_LISTEN": "127.0.0.1:0",
        "READY_FILE": str(ready_file),
    }
    variables = {f"NESTFLEET_SERVER_{name}": value for name, value in settings.items()}
    child = children.start("server", ["server.cli.main", "server"], variables, ready_file)
    _wait_until([child], child.is_ready, "the server serves")
    return str(child.addresses()["grpc"])


def start_boards(
    manifest: Manifest, server: str, children: Children, client: FleetClient, display: Display
) -> list[Board]:
    """One agent per board, each with memory for its level and no more, known to the server."""
    started: dict[str, Child] = {}
    for device_id, level in LEVELS.items():
        budget_bytes = budget_for(manifest, device_id)
        started[device_id] = start_agent(device_id, budget_bytes, server, children)
        display.say(
            f"{device_id:<8} may use {format_bytes(budget_bytes)} for weights: enough for {level} bits each."
        )
    agents = list(started.values())
    _wait_until(agents, lambda: all(child.is_ready() for child in agents), "the agents are ready")
    _wait_until(agents, lambda: _online(client) == set(LEVELS), "the agents are known to the server")
    return [board_of(device_id, child) for device_id, child in started.items()]


def budget_for(manifest: Manifest, device_id: str) -> int:
    """The memory that a board has for weights: what its level takes; the largest board has some to spare.

    A board between base and full level has half of what the next level takes more: in another version other
    blocks matter.
    """
    needed_bytes = memory_needed(manifest, LEVELS[device_id])
    if device_id == LARGEST:
        return int(needed_bytes * _SPARE)
    if LEVELS[device_id] == manifest.levels[0]:
        return needed_bytes
    above = min(level for level in manifest.levels if level > LEVELS[device_id])
    return (needed_bytes + memory_needed(manifest, above)) // 2


def _online(client: FleetClient) -> set[str]:
    return {device.device_id for device in client.list_devices() if device.online}


def _wait_until(children: Sequence[Child], condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not condition():
        for child in children:
            child.check_running()
        if time.monotonic() > deadline:
            tails = "\n".join(log_tail(child.log) for child in children)
            raise DemoFailure(f"Not within {_START_SECONDS:.0f} s: {what}.\n{tails}")
        time.sleep(_POLL_SECONDS)
