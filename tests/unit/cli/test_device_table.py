from __future__ import annotations

import pytest
from nestfleet.v1 import catalog_pb2, control_pb2, fleet_pb2

from server.cli.device_table import print_devices

NOW_MS = 1_700_000_000_000


def ref(version: int) -> catalog_pb2.VersionRef:
    return catalog_pb2.VersionRef(model="digits", version=version)


def shown(capsys: pytest.CaptureFixture[str], *devices: fleet_pb2.Device) -> str:
    print_devices(devices, now_ms=NOW_MS)
    return capsys.readouterr().out


def test_a_device_that_never_reported_has_dashes(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, fleet_pb2.Device(device_id="board-1", last_seen_unix_ms=NOW_MS - 120_000))
    assert text.splitlines()[-1].split() == ["board-1", "away", "2", "min", "-", "-", "-", "-", "-"]


def test_what_runs_and_what_is_wanted_stand_beside_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    state = control_pb2.DeviceState(
        phase=control_pb2.PHASE_FETCHING,
        proven=ref(1),
        level=4,
        blocks=[control_pb2.LevelBlocks(level=4, blocks=7), control_pb2.LevelBlocks(level=6, blocks=3)],
        resident_bytes=3 << 20,
        memory_budget_bytes=4 << 20,
        fetch_done_bytes=1,
        fetch_total_bytes=4,
    )
    device = fleet_pb2.Device(device_id="board-1", online=True, assigned=ref(2), max_level=6, state=state)
    row = shown(capsys, device).splitlines()[-1]
    for cell in ("online", "digits:2 <=6", "digits:1", " 4-6 ", "fetching 25%", "75% of 4.00 MiB"):
        assert cell in row


def model(name: str, version: int, level: int, resident_bytes: int) -> control_pb2.ModelState:
    proven = catalog_pb2.VersionRef(model=name, version=version)
    return control_pb2.ModelState(model=name, proven=proven, level=level, resident_bytes=resident_bytes)


def test_every_model_of_a_device_has_a_row_and_they_share_one_memory(
    capsys: pytest.CaptureFixture[str],
) -> None:
    speech = catalog_pb2.VersionRef(model="speech", version=2)
    state = control_pb2.DeviceState(
        phase=control_pb2.PHASE_IDLE,
        proven=ref(1),
        level=8,
        resident_bytes=1 << 20,
        memory_budget_bytes=4 << 20,
        models=[model("digits", 1, 8, 1 << 20), model("speech", 1, 4, 2 << 20), model("old", 7, 4, 0)],
    )
    device = fleet_pb2.Device(
        device_id="board-1",
        online=True,
        assigned=ref(1),
        assigned_versions=[
            fleet_pb2.AssignedVersion(ref=ref(1)),
            fleet_pb2.AssignedVersion(ref=speech, max_level=6),
        ],
        state=state,
    )
    first, second, third = (line.split() for line in shown(capsys, device).splitlines()[-3:])
    assert first == ["board-1", "online", "digits:1", "digits:1", "8", "idle", "75%", "of", "4.00", "MiB"]
    assert second == ["speech:2", "<=6", "speech:1", "4"]
    assert third == ["-", "old:7", "4"]


def test_the_fault_of_every_model_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    faults = [control_pb2.Fault(code="internal", detail=f"No {n}.", ref=ref(n)) for n in (1, 2)]
    models = [control_pb2.ModelState(model=f"m{n}", fault=fault) for n, fault in enumerate(faults)]
    state = control_pb2.DeviceState(fault=faults[0], models=models)
    lines = shown(capsys, fleet_pb2.Device(device_id="board-1", state=state)).splitlines()
    assert lines[-2:] == ["board-1: digits:1: No 1. (internal)", "board-1: digits:2: No 2. (internal)"]


def test_a_hold_is_told_in_its_row_and_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    hold = control_pb2.TransferHold(limit="quiet_hours", detail="It is quiet.", until_unix_ms=NOW_MS)
    state = control_pb2.DeviceState(phase=control_pb2.PHASE_WAITING, hold=hold)
    lines = shown(capsys, fleet_pb2.Device(device_id="board-1", state=state)).splitlines()
    assert any("held: quiet_hours" in line for line in lines[:-1])
    assert lines[-1] == "board-1: held back by quiet_hours until 2023-11-14 22:13: It is quiet."


def test_a_fault_is_told_below_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    fault = control_pb2.Fault(code="self_test_failed", detail="Labels miss.", ref=ref(3))
    state = control_pb2.DeviceState(phase=control_pb2.PHASE_FAILED, fault=fault)
    text = shown(capsys, fleet_pb2.Device(device_id="board-1", state=state))
    assert text.splitlines()[-1] == "board-1: digits:3: Labels miss. (self_test_failed)"


def test_what_devices_write_cannot_steer_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b]0;owned\x07\x1b[2J\u009b1m[red]"
    state = control_pb2.DeviceState(
        proven=catalog_pb2.VersionRef(model=evil, version=1),
        phase=control_pb2.PHASE_FAILED,
        fault=control_pb2.Fault(code=evil, detail=evil + "\n", ref=catalog_pb2.VersionRef(model=evil)),
    )
    text = shown(capsys, fleet_pb2.Device(device_id="board-1", state=state))
    assert not {"\x1b", "\x07", "\u009b"} & set(text)
    assert "[red]" in text
