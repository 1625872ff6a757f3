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
