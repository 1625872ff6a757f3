"""The three boards of the demo: what memory each has for weights, and the agent process that runs on it."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.demo.folders import RUN
from benchmarks.demo.inference import Endpoint
from benchmarks.demo.processes import Child, Children
from common.files import write_atomically
from common.manifest import Manifest
from device_agent.residency.policy import lowest_level, target_levels, total_bytes
from device_agent.residency.policy.footprint import full_bytes

LEVELS: Final[Mapping[str, int]] = {"sensor": 4, "camera": 6, "gateway": 8}
LARGEST: Final = "gateway"
LINK_BYTES_PER_SECOND: Final = 2 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Board:
    """A device with its agent.

    Attributes:
        device_id: Its name.
        level: The highest level for which it has memory, in bits.
        child: The agent.
        budget_file: Where the agent reads how much memory weights may take.
        endpoint: Where the agent answers, once it is ready.
    """

    device_id: str
    level: int
    child: Child
    budget_file: Path
    endpoint: Endpoint

    def set_budget(self, budget_bytes: int) -> None:
        """Let the board have so much memory for weights; the agent notices by itself."""
        write_atomically(self.budget_file, str(budget_bytes).encode())


def start_agent(device_id: str, budget_bytes: int, server: str, children: Children) -> Child:
    """An agent on its way; its ready file tells when it serves."""
    _budget_file(device_id).write_text(str(budget_bytes), "utf-8")
    ready_file = RUN / f"{device_id}.ready.json"
    settings = {
        "DEVICE_ID": device_id,
        "SERVER": server,
        "STORE_DIR": str(RUN / device_id),
        "HTTP_LISTEN": "127.0.0.1:0",
        "GRPC_LISTEN": "off",
        "BUDGET_FILE": str(_budget_file(device_id)),
        "DOWNLOAD_LIMIT_BYTES_PER_SECOND": str(LINK_BYTES_PER_SECOND),
        "THREADS": "1",
        "READY_FILE": str(ready_file),
    }
    variables = {f"NESTFLEET_AGENT_{name}": value for name, value in settings.items()}
    return children.start(device_id, ["device_agent", "run"], variables, ready_file)


def board_of(device_id: str, child: Child) -> Board:
    """The board whose agent is ready."""
    endpoint = Endpoint(child.addresses()["http"])
    return Board(device_id, LEVELS[device_id], child, _budget_file(device_id), endpoint)


def memory_needed(manifest: Manifest, level: int) -> int:
    """The least memory with which a board has no block of a version below a level.

    More than every block at that level takes: blocks that matter go further up before others follow.
    """
    enough = range(total_bytes(manifest, manifest.base_levels()), full_bytes(manifest) + 1)
    least = bisect.bisect_left(enough, level, key=lambda budget_bytes: _lowest_level(manifest, budget_bytes))
    return enough[least]


def _lowest_level(manifest: Manifest, budget_bytes: int) -> int:
    return lowest_level(manifest, target_levels(manifest, budget_bytes=budget_bytes))


def _budget_file(device_id: str) -> Path:
    return RUN / f"{device_id}.budget"
