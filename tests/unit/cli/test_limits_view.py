from __future__ import annotations

from nestfleet.v1 import control_pb2, fleet_pb2

from server.cli.limits_view import limit_lines


def test_what_holds_what_is_wanted_and_what_is_held_back() -> None:
    state = control_pb2.DeviceState(
        device_id="board-1",
        memory_budget_bytes=12 << 20,
        transfer_limits=control_pb2.TransferLimits(
            bandwidth_bytes_per_second=256 << 10, monthly_bytes=500 << 20, quiet_hours="22:00-06:00"
        ),
        month_bytes=250 << 20,
        metered=True,
        hold=control_pb2.TransferHold(limit="metered", detail="Only bases."),
    )
    wanted = control_pb2.TransferLimits(
        monthly_bytes=500 << 20, metered=control_pb2.METERED_RULE_BASE_ONLY, quiet_hours="00:00-00:00"
    )
    device = fleet_pb2.Device(device_id="board-1", state=state, transfer_limits=wanted)
    assert [line.split() for line in limit_lines(device)] == [
        ["board-1,", "as", "last", "reported"],
        ["memory", "12.00", "MiB", "(its", "own", "setting)"],
        ["bandwidth", "256.0", "KiB/s", "(its", "own", "setting)"],
        ["monthly", "500.00", "MiB"],
        ["metered", "-,", "base-only", "is", "wanted"],
        ["quiet", "hours", "22:00-06:00,", "none", "is", "wanted"],
        ["this", "month", "250.00", "MiB,", "50%", "of", "500.00", "MiB"],
        ["link", "metered"],
        ["held", "back", "metered:", "Only", "bases."],
    ]


def test_what_a_device_writes_cannot_steer_the_terminal() -> None:
    hold = control_pb2.TransferHold(limit="\x1b[2J", detail="\x07")
    limits = control_pb2.TransferLimits(quiet_hours="\x1b]0;owned")
    state = control_pb2.DeviceState(device_id="board-1", hold=hold, transfer_limits=limits)
    text = "\n".join(limit_lines(fleet_pb2.Device(device_id="board-1", state=state)))
    assert not {"\x1b", "\x07"} & set(text)
