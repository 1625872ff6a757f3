"""The commands against a real server, as an operator or a script runs them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nestfleet.v1 import delivery_pb2, delivery_pb2_grpc

from server.cli.main import main
from tests.support.models import tiny_net
from tests.support.server import RunningServer, running_server


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The whole of stdout."""
        return json.loads(self.out)


@dataclass(frozen=True, slots=True)
class Operator:
    """Somebody at a command line, and the server behind it."""

    server: RunningServer
    run: Callable[..., Any]

    async def enrol(self, device_id: str) -> None:
        stub = delivery_pb2_grpc.DeliveryServiceStub(self.server.channel)
        await stub.Enrol(delivery_pb2.EnrolRequest(device_id=device_id, enrolment_key=b"k" * 32))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `nestfleet export` writes of a tiny net."""
    folder = tmp_path_factory.mktemp("models")
    (folder / "nets_of_commands.py").write_text("from tests.support.models import tiny_net as make\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        with pytest.raises(SystemExit) as exit_info:
            main(["export", "nets_of_commands:make", "--out", str(folder / "saved")])
    assert exit_info.value.code == 0
    return folder / "saved"


@pytest.fixture
async def operator(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Operator]:
    async with running_server(tmp_path / "data", gc_grace_seconds=0) as server:
        monkeypatch.setenv("NESTFLEET_SERVER", server.addresses.grpc)

        async def run(*arguments: str | Path) -> Outcome:
            def exit_code() -> int:
                with pytest.raises(SystemExit) as exit_info:
                    main([str(argument) for argument in arguments])
                return int(exit_info.value.code or 0)

            code = await asyncio.to_thread(exit_code)
            captured = capsys.readouterr()
            return Outcome(code, captured.out, captured.err)

        yield Operator(server, run)


async def test_a_model_is_pushed_listed_inspected_withdrawn_and_collected(
    operator: Operator, saved: Path
) -> None:
    pushed = await operator.run("push", saved, "--name", "digits", "--levels", "4,8", "--json")
    assert pushed.code == 0
    assert pushed.json["ref"] == {"model": "digits", "version": 1}
    assert pushed.json["levels"] == [4, 8]
    assert "Quantize" in pushed.err

    listed = await operator.run("models", "--json")
    assert listed.json == {"versions": [pushed.json]}

    inspected = (await operator.run("inspect", "digits", "--json")).json
    assert inspected["version"] == pushed.json
    assert "fidelity" in inspected
    assert "scores.bias" in {state["name"] for state in inspected["left_float"]}
    assert inspected["inputs"] == [{"name": "image", "dtype": "float32", "shape": [None, 1, 8, 8]}]
    assert sum(block["weights"] for block in inspected["blocks"]) == pushed.json["sizes"]["weights"]

    withdrawn = await operator.run("models", "--delete", "digits:1", "--json")
    assert withdrawn.json == {"deleted": [{"model": "digits", "version": 1}]}
    counted = (await operator.run("gc", "--dry-run", "--json")).json
    freed = (await operator.run("gc", "--json")).json
    assert counted == {**freed, "dry_run": True}
    assert freed["blobs"] == pushed.json["blobs"]
    assert (await operator.run("models", "--json")).json == {"versions": []}


async def test_the_next_version_says_how_many_scales_it_kept_unless_all_are_fresh(
    operator: Operator, saved: Path
) -> None:
    first = await operator.run("push", saved, "--name", "digits")
    assert "scales" not in first.out
    second = await operator.run("push", saved, "--name", "digits")
    assert "50 of 50 rows keep the scales of the version before" in second.out
    fresh = await operator.run("push", saved, "--name", "digits", "--fresh")
    assert fresh.code == 0
    assert "rows keep" not in fresh.out


async def test_the_tables_hold_what_an_operator_looks_for(operator: Operator, saved: Path) -> None:
    pushed = await operator.run("push", saved, "--name", "digits")
    assert "digits:1 is published at levels 4,6,8" in pushed.out
    assert "nestfleet assign digits:1 --all" in pushed.out
    assert "digits:1  4,6,8" in (await operator.run("models")).out
    inspected = (await operator.run("inspect", "digits:1", "--blocks")).out
    for text in (
        "= in full",
        "one INT8 model",
        "[batch, 1, 8, 8]",
        "convolution.weight and",
        "left in float",
    ):
        assert text in inspected
    assert "No devices yet" in (await operator.run("devices")).out
    assert "Nothing was moved yet" in (await operator.run("savings")).out


async def test_an_inspection_tells_the_rounding_and_the_width_of_shards(
    operator: Operator, saved: Path
) -> None:
    await operator.run("push", saved, "--name", "digits")
    await operator.run("push", saved, "--name", "digits", "--rounding", "adaptive", "--refit")
    plain, adaptive = [(await operator.run("inspect", f"digits:{number}")).out for number in (1, 2)]
    assert "floor rounding" in plain
    assert "shards: 2 bits a weight to 6, 2 bits a weight to 8" in plain
    assert "adaptive-refit rounding" in adaptive
    assert "shards: 3 bits a weight to 6, 3 bits a weight to 8" in adaptive
    blocks = (await operator.run("inspect", "digits:2", "--json")).json["blocks"]
    assert {tuple(block["shard_bits"]) for block in blocks if block["tensors"]} == {(3, 3)}
    unknown = await operator.run("push", saved, "--name", "digits", "--rounding", "nearest")
    assert unknown.code == 1
    assert "adaptive, auto, calibrated, floor" in unknown.err


async def test_devices_are_assigned_limited_and_forgotten(operator: Operator, saved: Path) -> None:
    await operator.run("push", saved, "--name", "digits")
    for device_id in ("board-1", "board-2"):
        await operator.enrol(device_id)

    assigned = (await operator.run("assign", "digits", "board-1", "--max-level", "6", "--json")).json
    assert [(item["device_id"], item["max_level"]) for item in assigned["devices"]] == [("board-1", 6)]
    everyone = await operator.run("assign", "digits:1", "--all")
    assert [line.split(":")[0] for line in everyone.out.splitlines()] == ["board-1", "board-2"]

    await operator.run("push", saved, "--name", "speech")
    several = await operator.run("assign", "board-1", "digits:1", "speech:1", "--max-level", "6")
    assert several.out.startswith("board-1: digits:1 up to 6 bits, speech:1 up to 6 bits.")
    alone = await operator.run("assign", "digits:1", "board-2")
    assert alone.out.startswith("board-2: digits:1.")
    beside = (await operator.run("assign", "board-2", "speech:1", "--beside", "--json")).json["devices"]
    refs = [item["ref"]["model"] for item in beside[0]["assigned_versions"]]
    assert refs == ["digits", "speech"]
    table = (await operator.run("devices")).out
    assert all(name in table for name in ("digits:1 <=6", "speech:1 <=6", "digits:1", "speech:1"))

    limited = (await operator.run("devices", "--budget", "board-1=12MiB", "--json")).json
    assert [item["memory_budget_bytes"] for item in limited["devices"]] == [12 << 20]
    in_use = await operator.run("models", "--delete", "digits:1")
    assert (in_use.code, in_use.out) == (1, "")
    assert in_use.err.startswith("error: ")

    assert (await operator.run("devices", "--forget", "board-1")).code == 0
    left = (await operator.run("devices", "--json")).json
    assert [item["device_id"] for item in left["devices"]] == ["board-2"]
    assert left["devices"][0]["assigned"] == {"model": "digits", "version": 1}
    assert "digits:1" in (await operator.run("devices")).out


async def test_some_limits_are_set_and_the_others_stay(operator: Operator) -> None:
    await operator.enrol("board-1")
    options = (
        "--bandwidth",
        "256KiB",
        "--monthly",
        "500MiB",
        "--metered",
        "base-only",
        "--quiet",
        "22:00-06:00",
    )
    await operator.run("limits", "board-1", *options, "--memory", "12MiB", "--json")
    (device,) = (await operator.run("limits", "board-1", "--monthly", "1GiB", "--json")).json["devices"]
    assert device["memory_budget_bytes"] == 12 << 20
    assert device["transfer_limits"] == {
        "bandwidth_bytes_per_second": 256 << 10,
        "monthly_bytes": 1 << 30,
        "metered": "base_only",
        "quiet_hours": "22:00-06:00",
    }
    await operator.run("devices", "--budget", "board-1=0")
    await operator.run("limits", "board-1", "--metered", "own", "--quiet", "none")
    (device,) = (await operator.run("limits", "board-1", "--json")).json["devices"]
    assert device["memory_budget_bytes"] == 0
    assert device["transfer_limits"]["metered"] == "unspecified"
    assert device["transfer_limits"]["quiet_hours"] == "00:00-00:00"
    shown = (await operator.run("limits", "board-1")).out
    assert "1.00 GiB is wanted" in shown
    assert "has not reported yet" in shown


async def test_an_acceptance_test_travels_with_the_version(
    operator: Operator, saved: Path, tmp_path: Path
) -> None:
    _, (image,) = tiny_net()
    file = tmp_path / "acceptance.npz"
    np.savez(file, labels=np.arange(4), picture=image.numpy())
    options = ("--acceptance", file, "--min-agreement", "0.9", "--json")
    assert (await operator.run("push", saved, "--name", "digits", *options)).code == 0


async def test_samples_pins_and_a_budget_are_pushed(operator: Operator, saved: Path, tmp_path: Path) -> None:
    images = np.random.default_rng(0).random((40, 1, 8, 8))
    np.savez_compressed(tmp_path / "calibration.npz", image=images)
    np.savez(tmp_path / "evaluation.npz", labels=np.arange(40, dtype=np.uint8) % 10, picture=images)
    options = ("--calibration", tmp_path / "calibration.npz", "--evaluate", tmp_path / "evaluation.npz")
    bounds = ("--first-last", "8", "--budget-bytes", "1MiB", "--min-fidelity", "0.01")
    pushed = await operator.run(
        "push", saved, "--name", "digits", *options, "--pin", "*=4", *bounds, "--json"
    )
    assert (pushed.code, pushed.json["ref"]["version"]) == (0, 1)


async def test_samples_that_the_model_does_not_take_are_refused_by_name(
    operator: Operator, saved: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "a.npz", labels=np.zeros(2, np.int64), image=np.zeros((2, 1, 8, 9)))
    outcomes = [
        await operator.run("push", saved, "--name", "digits", option, tmp_path / "a.npz", "--json")
        for option in ("--calibration", "--evaluate")
    ]
    assert [(outcome.code, outcome.out) for outcome in outcomes] == [(1, ""), (1, "")]
    assert (
        "takes the inputs ['image'], and the calibration samples have ['image', 'labels']" in outcomes[0].err
    )
    assert "evaluation samples do not fit the model" in outcomes[1].err
    assert "[2, 1, 8, 9], expected [batch, 1, 8, 8]" in outcomes[1].err


async def test_a_picture_is_drawn(operator: Operator, tmp_path: Path) -> None:
    picture = tmp_path / "savings.png"
    drawn = await operator.run("savings", "--plot", picture, "--json")
    assert drawn.json["fleet"]["moved_bytes"] == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["inspect", "nothing"], "no model nothing"),
        (["models", "--delete", "nothing:1"], "no model nothing"),
        (["assign", "nothing", "--all"], "no model nothing"),
        (["devices", "--forget", "nobody"], "no device nobody"),
        (["devices", "--budget", "nobody=1MiB"], "no device nobody"),
        (["limits", "nobody"], "no device nobody"),
        (["limits", "nobody", "--monthly", "1MiB"], "no device nobody"),
        (["savings", "--model", "nothing"], "no model nothing"),
        (["push", "net_of_nobody:make", "--name", "a"], "No module 'net_of_nobody'"),
        (["push", "nowhere", "--name", "a"], "neither a folder nor MODULE:FUNCTION"),
    ],
)
async def test_what_is_not_there_is_named(operator: Operator, arguments: list[str], message: str) -> None:
    outcome = await operator.run(*arguments, "--json")
    assert (outcome.code, outcome.out) == (1, "")
    errors = [line for line in outcome.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert message in errors[0]
    assert "Traceback" not in outcome.err
