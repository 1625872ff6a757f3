"""A fleet in containers: converge, survive a kill, survive restarts, roll back, and account for every byte.

The tests are one story, told in order.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nestfleet.v1 import fleet_pb2

from common.errors import LinkError
from common.manifest import Manifest
from server.client.fleet import FleetClient
from tests.e2e.compose import AGENTS, Compose
from tests.support.waiting import wait_until

pytestmark = pytest.mark.e2e

LEVELS = {"agent-small": 4, "agent-medium": 6, "agent-large": 8}
MODEL = "resnet"
MOST_UNREPORTED_BYTES = 64 * 1024
HERE = Path(__file__).parent


def device(operator: FleetClient, device_id: str) -> fleet_pb2.Device:
    return next(item for item in operator.list_devices() if item.device_id == device_id)


def runs(operator: FleetClient, device_id: str, version: int) -> bool:
    try:
        state = device(operator, device_id).state
    except LinkError:
        return False
    return state.proven.version == version and state.level == LEVELS[device_id]


def savings(operator: FleetClient, device_id: str) -> fleet_pb2.Savings:
    return next(row for row in operator.get_savings().devices if row.device_id == device_id)


def bytes_up_to(manifest: Manifest, level: int) -> int:
    """Wire bytes of all blobs that lift the whole version to a level, each digest once."""
    blobs = {
        ref.digest: ref.size_bytes
        for block in manifest.blocks
        for ref, reached in zip(block.blobs, block.levels(manifest.levels), strict=True)
        if reached <= block.nearest(manifest.levels, level)
    }
    return sum(blobs.values())


def test_all_agents_enrol_and_report(operator: FleetClient) -> None:
    wait_until(
        lambda: {item.device_id for item in operator.list_devices() if item.online} == set(AGENTS),
        "three agents online",
    )


def test_a_board_carries_no_database_and_no_quantizer(compose: Compose) -> None:
    look = (
        "import importlib.util as u; print([name for name in ('sqlalchemy', 'server') if u.find_spec(name)])"
    )
    assert compose.run("exec", "-T", "agent-small", "python", "-c", look).strip() == "[]"


def test_an_agent_killed_in_mid_download_fetches_no_finished_byte_again(
    compose: Compose, operator: FleetClient
) -> None:
    compose.nestfleet("push", "tests.e2e.models:first", "--name", MODEL, "--levels", "4,6,8")
    manifest = operator.get_version(MODEL, 1).manifest
    compose.nestfleet("assign", f"{MODEL}:1", "agent-large")

    def in_the_middle() -> bool:
        state = device(operator, "agent-large").state
        return state.fetch_total_bytes > 0 and 0.2 < state.fetch_done_bytes / state.fetch_total_bytes < 0.8

    wait_until(in_the_middle, "agent-large in mid-download")
    compose.run("kill", "--signal", "KILL", "agent-large")
    wait_until(lambda: not device(operator, "agent-large").online, "the last will")
    compose.run("start", "agent-large")
    wait_until(lambda: runs(operator, "agent-large", 1), "agent-large at full-bit")

    def moved() -> fleet_pb2.Savings:
        return savings(operator, "agent-large")

    wait_until(
        lambda: moved().base_bytes + moved().shard_bytes == bytes_up_to(manifest, 8),
        "every blob in the ledger",
    )
    assert moved().retransmitted_bytes == 0
    assert moved().update_bytes == 0


def test_every_agent_converges_to_the_level_its_memory_allows(
    compose: Compose, operator: FleetClient
) -> None:
    compose.nestfleet("assign", f"{MODEL}:1", "--all")
    for agent in AGENTS:
        wait_until(lambda agent=agent: runs(operator, agent, 1), f"{agent} at level {LEVELS[agent]}")  # type: ignore[misc]
    image = np.zeros((1, 1, 8, 8)).tolist()
    for agent in AGENTS:
        ready = compose.agent_get(agent, f"/v2/models/{MODEL}")
        tensor = {
            "name": ready["inputs"][0]["name"],
            "shape": [1, 1, 8, 8],
            "datatype": "FP32",
            "data": image,
        }
        answer = compose.agent_post(agent, f"/v2/models/{MODEL}/infer", {"inputs": [tensor]})
        assert answer["parameters"]["level"] == LEVELS[agent]
        assert answer["outputs"][0]["shape"] == [1, 10]


def test_a_rollout_survives_a_restart_of_server_and_broker(compose: Compose) -> None:
    compose.nestfleet("push", "tests.e2e.models:second", "--name", MODEL, "--levels", "4,6,8")
    compose.nestfleet("assign", f"{MODEL}:2", "--all")
    compose.run("kill", "--signal", "KILL", "server")
    compose.run("up", "--detach", "--wait", "--no-recreate", "server", timeout_seconds=180)
    compose.run("kill", "--signal", "KILL", "mosquitto")
    compose.run("up", "--detach", "--wait", "--no-recreate", "mosquitto", timeout_seconds=180)
    with FleetClient(compose.address("server", 50051)) as again:
        for agent in AGENTS:
            wait_until(lambda agent=agent: runs(again, agent, 2), f"{agent} on version 2")  # type: ignore[misc]
        first, second = (again.get_version(MODEL, number).manifest for number in (1, 2))
        old = {ref.digest for ref in first.device_refs()}
        refs = [ref for block in second.blocks for ref in block.blobs]
        new = {ref.digest: ref.size_bytes for ref in refs if ref.digest not in old}
        moved = savings(again, "agent-large")
        assert 0 < moved.update_bytes + moved.delta_bytes <= sum(new.values())


def test_a_version_that_fails_its_self_test_is_rolled_back_everywhere(
    compose: Compose, operator: FleetClient, tmp_path: Path
) -> None:
    acceptance = tmp_path / "acceptance.npz"
    np.savez(acceptance, inputs=np.zeros((8, 1, 8, 8), np.float32), labels=np.arange(8))
    compose.nestfleet(
        "push", "tests.e2e.models:second", "--name", MODEL, "--levels", "4,6,8",
        "--acceptance", str(acceptance), "--min-agreement", "0.9",
    )  # fmt: skip
    compose.nestfleet("assign", f"{MODEL}:3", "--all")

    def refused(agent: str) -> bool:
        state = device(operator, agent).state
        return state.fault.ref.version == 3 and state.fault.code == "self_test_failed"

    for agent in AGENTS:
        wait_until(lambda agent=agent: refused(agent), f"{agent} refuses version 3")  # type: ignore[misc]
        # Proving version 3 may have taken the memory of version 2's shards: they are paged in again.
        assert device(operator, agent).state.proven.version == 2
        wait_until(lambda agent=agent: runs(operator, agent, 2), f"{agent} back at its level")  # type: ignore[misc]
        assert "label" in device(operator, agent).state.fault.detail


def test_server_and_agents_agree_to_the_byte(compose: Compose, operator: FleetClient) -> None:
    def agree(agent: str) -> bool:
        """Payload to the byte; overhead grows with every report, so the server is a little behind."""
        row, status = savings(operator, agent), compose.agent_get(agent, "/nestfleet/status")
        own = dict(status["ledger"])
        seen = {kind: getattr(row, f"{kind}_bytes") for kind in own}
        assert row.moved_bytes == sum(seen.values())
        assert status["overhead_measured"] is True
        told, counted = seen.pop("overhead"), own.pop("overhead")
        assert told <= counted
        return bool(seen == own and told and counted - told < MOST_UNREPORTED_BYTES)

    for agent in AGENTS:
        wait_until(lambda agent=agent: agree(agent), f"{agent} and the server agree")  # type: ignore[misc]


def test_savings_are_shown(compose: Compose) -> None:
    savings = compose.nestfleet("savings")
    assert {hour["kind"] for hour in savings["hours"]} >= {"base", "overhead"}
    assert savings["fleet"]["moved_bytes"] < savings["fleet"]["paper_bytes"]
